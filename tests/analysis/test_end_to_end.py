"""Whole decode steps: every setting of a rival is a base, and errors stand beside ratios."""

import unittest

from matplotlib import pyplot as plt

from analysis.simulation.end_to_end import draw, equal_error, ratios
from analysis.simulation.steps import AT_LEAST, AT_MOST, EQUAL, UNKNOWN, Steps, names

OURS, TIGHT = "double_p:p1=0.95,p2=0.70", "double_p:p1=1,p2=1"
WIDE = "retroinfer:exact=0.2,estimated=0.2"
SMALL, LARGE = "quest:budget=4096", "quest:budget=0.25"


def step(label, measured, error, context=65536, batch=1, predicted=None):
    return {"label": label.encode(), "context": context, "batch": batch, "measured": measured,
            "predicted": predicted or measured, "output_error": error}


ROWS = [step("dense", 0.020, 0.0), step("retroinfer", 0.011, 0.2), step(WIDE, 0.015, 0.109),
        step(SMALL, 0.009, 0.3), step(LARGE, 0.018, 0.05, predicted=0.022),
        step(OURS, 0.010, 0.1), step(TIGHT, 0.016, 0.02)]


def table(text):
    """[{heading: cell}]; of headings that occur again, the later ones numbered."""
    lines = [[c.strip() for c in line.strip("| ").split("|")] for line in text.splitlines()]
    heads = [h if lines[0].index(h) == i else f"{h} {i}" for i, h in enumerate(lines[0])]
    return [dict(zip(heads, line)) for line in lines[2:]]


class Bases(unittest.TestCase):
    def test_every_setting_of_a_rival_is_a_base(self):
        steps = Steps(ROWS + [step("twilight:p=0.85", 0.01, 0.1)])
        self.assertEqual(steps.bases(), ["dense", "retroinfer", WIDE, LARGE, SMALL])

    def test_names_tell_settings_apart(self):
        found = names(["dense", "retroinfer", WIDE, SMALL, OURS])
        self.assertEqual(list(found.values()),
                         ["Dense", "RetroInfer (defaults)", "RetroInfer (exact 0.2, estimated 0.2)",
                          "Quest (budget 4096)", "Double-P"])
        self.assertEqual(names(["retroinfer"]), {"retroinfer": "RetroInfer"})

    def test_a_column_each_with_the_error_compared(self):
        row = table(ratios(Steps(ROWS)))[0]
        self.assertEqual(row["error to dense"], "0.100")
        self.assertEqual(row["over Dense, error 0"], "2.00x (2.00x)")
        self.assertEqual(row["over RetroInfer (defaults)"], "≥ 1.10x (1.10x) at 0.200")
        self.assertEqual(row["over RetroInfer (exact 0.2, estimated 0.2)"],
                         "= 1.50x (1.50x) at 0.109")
        self.assertEqual(row["over Quest (budget 0.25)"], "≤ 1.80x (2.20x) at 0.050")
        self.assertEqual(row["over Quest (budget 4096)"], "≥ 0.90x (0.90x) at 0.300")

    def test_a_base_that_did_not_run_there_has_no_ratio(self):
        found = table(ratios(Steps(ROWS + [step(OURS, 0.02, 0.1, context=131072)])))
        self.assertEqual(found[1]["context"], "128K")
        self.assertEqual(found[1]["over RetroInfer (defaults)"], "–")


class EqualError(unittest.TestCase):
    def test_signs(self):
        for other, sign in ((0.0, AT_MOST), (0.09, AT_MOST), (0.095, EQUAL), (0.1, EQUAL),
                            (0.109, EQUAL), (0.111, AT_LEAST), (-1, UNKNOWN)):
            steps = Steps([step(OURS, 1, 0.1), step(SMALL, 1, other)])
            self.assertEqual(steps.compared(OURS, SMALL, 65536, 1), sign, other)

    def test_the_fastest_setting_that_is_exact_enough(self):
        steps = Steps(ROWS + [step("retroinfer:exact=0.5", 0.014, 0.01)])
        self.assertEqual(steps.matched(OURS, "retroinfer", 65536, 1), "retroinfer:exact=0.5")
        self.assertEqual(Steps(ROWS).matched(OURS, "retroinfer", 65536, 1), WIDE)
        self.assertIsNone(Steps(ROWS).matched(TIGHT, "quest", 65536, 1))

    def test_an_error_not_measured_matches_nothing(self):
        for mine, other in ((0.1, -1), (-1, 0.1), (-1, -1)):
            steps = Steps([step(OURS, 1, mine), step(SMALL, 1, other)])
            self.assertIsNone(steps.matched(OURS, "quest", 65536, 1))
            self.assertIn("? 1.00x", ratios(steps))

    def test_table(self):
        found = table(equal_error(Steps(ROWS)))
        self.assertEqual(list(found[0].values()),
                         ["64K", "1", "Double-P (0.95 / 0.70)", "10.000", "0.100",
                          "exact 0.2, estimated 0.2", "15.000", "0.109", "= 1.50x (1.50x)",
                          "budget 0.25", "18.000", "0.050", "≤ 1.80x (2.20x)"])
        self.assertEqual(list(found[1].values())[5:], ["–"] * 8)


class Figure(unittest.TestCase):
    def test_a_row_of_panels_per_base_and_the_claim_in_those_of_its_policy(self):
        fig = draw(Steps(ROWS + [step(OURS, 0.01, 0.1, batch=4)]))
        self.assertEqual(len(fig.axes), 5 * 2)
        claims = [[line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == ":"]
                  for ax in fig.axes[::2]]
        self.assertEqual(claims, [[], [1.26], [1.26], [1.11], [1.11]])
        self.assertEqual(fig.axes[2].get_ylabel(), "speed-up over\nRetroInfer\n(defaults)")
        plt.close(fig)

    def test_nothing_to_compare_gives_no_figure(self):
        self.assertIsNone(draw(Steps([step("dense", 1, 0.0)])))
        self.assertIsNone(draw(Steps([step(OURS, 1, 0.1)])))


if __name__ == "__main__":
    unittest.main()
