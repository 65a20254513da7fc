"""Where policies begin to beat dense, and what whole answers cost: tables by hand, and every mark of the picture."""

import unittest

from matplotlib import pyplot as plt

from analysis.simulation import crossover_figure, tables
from analysis.simulation.reader import Curve

NEVER, K = 0, 1 << 10


def crossed(batch, context, largest=1 << 20, extrapolated=0, kv_bytes=2.0):
    return dict(batch=batch, context=context, largest=largest, to=1 << 20, extrapolated=extrapolated,
                kv_bytes=kv_bytes, place=0, cache_share=0.05, tensor_parallel=1, **{"from": 8 * K})


def answer(seconds, steps, ratio, questions=0, cut=0):
    return dict(prompt=32 * K, output=1000, batch=4, tensor_parallel=1, place=0, cache_share=0.05, kv_bytes=2.0,
                ratio=ratio, tokens=1000 * ratio, prefill_seconds=1.0, build_seconds=seconds - 1 - steps / 4,
                steps_seconds=steps, seconds=seconds, fits=1, extrapolated=0, questions=questions, cut=cut)


def curve(policy, title="", model="m", error=0.1, **tables_of):
    return Curve("s", "h", "", model, "w", policy, policy + title, title, {}, 0, error, 1.0, **tables_of)


def cells(text, first):
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} "))
    return [cell.strip() for cell in line.strip("| ").split("|")]


class Tables(unittest.TestCase):
    def test_a_row_a_policy_and_a_column_a_batch(self):
        text = tables.crossover([
            curve("quest", crossover=[crossed(1, 16 * K), crossed(8, 8 * K, extrapolated=1)]),
            curve("double_p", "Best", crossover=[crossed(1, NEVER), crossed(8, 64 * K, largest=32 * K)])])
        self.assertEqual(cells(text, "Quest")[1:], ["16K", "≤ 8K‡", "0.100"])
        self.assertEqual(cells(text, "Best")[1:], ["never", "64K†", "0.100"])
        self.assertIn("‡ extrapolated: trace length", text)

    def test_caches_of_other_bits_have_tables_of_their_own(self):
        text = tables.crossover([curve("quest", crossover=[crossed(1, 16 * K), crossed(1, 32 * K, kv_bytes=0.625)])])
        self.assertEqual(text.count("| Quest "), 2)
        self.assertIn("cache: device, 5 bits a number", text)

    def test_an_answer_breaks_even_where_its_steps_fill_what_is_left(self):
        # Dense: 1 s of prefill, 40 s of steps of four: 11 s. Ours: 1 + 1 + 24 / 4 = 8 s at 1.2 times the length;
        # of 9 s that are left each length takes 5: 1.8.
        dense, ours = curve("dense", answers=[answer(11.0, 40.0, 1.0)]), \
            curve("quest", answers=[answer(8.0, 24.0, 1.2, 160, 22)])
        found = cells(tables.answers([dense, ours]), "Quest")
        self.assertEqual(found[3:5], ["1200", "1.200 (160 questions, 22 cut)"])
        self.assertEqual(found[6:11], ["1.000", "24.000", "8.000", "1.38x", "1.80"])
        self.assertEqual(tables.break_even(answer(20.0, 24.0, 1.0), dense.answers[0]), ("0.55x", "never"))
        self.assertEqual(tables.break_even(dense.answers[0], None), ("–", "–"))


class Picture(unittest.TestCase):
    def test_marks(self):
        figure = crossover_figure.draw([
            curve("quest", crossover=[crossed(1, 16 * K), crossed(8, 8 * K, extrapolated=1)]),
            curve("retroinfer", crossover=[crossed(1, NEVER), crossed(8, 64 * K, largest=32 * K)]),
            curve("quest", model="other", crossover=[crossed(1, 32 * K), crossed(8, 32 * K)])])
        self.addCleanup(plt.close, figure)
        panels = [ax for ax in figure.axes if ax.get_visible()]
        self.assertEqual([ax.get_title().split("\n")[0] for ax in panels], ["m", "other"])
        marks = {}
        for line in panels[0].lines:
            if line.get_marker() not in ("None", None, ""):
                marks.setdefault(line.get_marker(), []).append((line.get_ydata()[0], line.get_markerfacecolor()))
        never = panels[0].get_yticks()[-1]
        self.assertGreater(never, 1 << 20)
        self.assertEqual([y for y, _ in marks["s"]], [16 * K, 8 * K])
        self.assertEqual(marks["s"][1][1], "white")  # extrapolated
        self.assertEqual([y for y, _ in marks["D"]], [never, 64 * K])
        self.assertEqual([y for y, _ in marks["x"]], [64 * K])  # does not fit
        words = [tick.get_text() for tick in panels[0].get_yticklabels()]
        self.assertEqual((words[0], words[-1]), ("≤ 8K", "never"))
        joined = [line for line in panels[0].lines if line.get_marker() == "None" and len(set(line.get_xdata())) == 2]
        self.assertEqual(len([x for x in joined if x.get_linewidth() == 0.9]), 1)  # "never" is joined to nothing

    def test_nothing_to_show(self):
        self.assertIsNone(crossover_figure.draw([curve("dense", crossover=[crossed(1, NEVER)])]))


if __name__ == "__main__":
    unittest.main()
