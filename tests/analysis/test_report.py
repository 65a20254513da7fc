"""The whole report: what is written, that it is the same twice, and that odd sweeps pass."""

import contextlib
import io
import math
import os
import re
import shutil
import tempfile
import unittest
import unittest.mock

import h5py
import numpy as np
import synthetic
import test_markdown

from analysis import report, style


def shown(text):
    """What a reader shows of Markdown, as far as names go: backslashes before punctuation gone."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)


def call(*arguments):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return report.main([str(a) for a in arguments])


class Report(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)
        self.folder = self._folder.name

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def read(self, *parts):
        with open(self.path(*parts), "rb") as file:
            return file.read()

    def test_everything(self):
        policies = ("double_p", "loki", "a_policy_nobody_knows")
        result = synthetic.realistic(self.path("r.h5"), 1, 2, (0, 1), 2, 3, policies)
        self.assertEqual(call(result, "--out", self.path("a"), "--dpi", 60), 0)
        files = sorted(os.listdir(self.path("a")))
        for name in ("report.md", "table.md", "table.csv", "ranking.md", "failures.md",
                     "cost_headline.svg", "cost_output_error.png", "cost_missed_mass.svg",
                     "cost_violation.png", "heat_needle-4k.png", "heat_code-8k.svg",
                     "tokens_ecdf.png", "tokens_needle-4k.svg"):
            self.assertIn(name, files)
        text = self.read("a", "report.md").decode()
        for name in re.findall(r"\]\(([^)]+)\)", text):
            self.assertIn(name, files)
        for word in ("0123abc", "2026-01-02T03:04:05Z", synthetic.digits("config"), "needle-4k",
                     "Not run on code-8k: loki", "a_policy_nobody_knows"):
            self.assertIn(word, text)
        self.assertEqual(text.count("### needle-4k, output error"), 4)

    def test_the_same_twice(self):
        result = synthetic.realistic(self.path("r.h5"), 2, 1, (0,), 2, 2, ("oracle_top_p",))
        for out in ("a", "b"):
            self.assertEqual(call(result, "--out", self.path(out), "--format", "svg", "md", "csv"), 0)
        for name in os.listdir(self.path("a")):
            self.assertEqual(self.read("a", name), self.read("b", name), name)

    def test_parts_and_formats(self):
        result = synthetic.realistic(self.path("r.h5"), 2, 1, (0,), 4, 2, ("quest",))
        self.assertEqual(call(result, "--out", self.path("o"), "--only", "table,heat", "--format", "md",
                              "svg"), 0)
        self.assertEqual(sorted(os.listdir(self.path("o"))),
                         ["failures.md", "heat_needle-4k.svg", "table.md"])
        with self.assertRaises(SystemExit) as caught:
            call(result, "--out", self.path("o"), "--only", "tables")
        self.assertEqual(caught.exception.code, 2)

    def test_odd_sweeps(self):
        row = synthetic.row
        odd = {
            "dense alone": [synthetic.run("dense", [row()])],
            "nothing finite": [synthetic.run("quest", [row(
                output_error=math.nan, covered_mass=math.nan, exact_mass=math.nan,
                bytes_attend=math.nan)])],
            "no tokens, no bytes, no data type": [synthetic.run("quest", [row(
                exact_tokens=0, output_error=1.0, covered_mass=0.0)], kv_dtype="int3")],
        }
        for name, runs in odd.items():
            with self.subTest(name):
                result = synthetic.write(self.path("r.h5"), [synthetic.trace()], runs)
                self.assertEqual(call(result, "--out", self.path(name), "--format", "png"), 0)

    def test_other_replay_settings_are_never_compared(self):
        # The same trace and the same runs: once whole, once two of three layers, once every second
        # step.
        policies = ("oracle_top_p", "quest")
        whole = synthetic.realistic(self.path("whole.h5"), 2, 1, (0, 1, 4), 2, 4, policies)
        parts = {"layers": lambda rows: rows["layer"] <= 1, "steps": lambda rows: rows["step"] % 2 == 0}
        for name, pick in parts.items():
            shutil.copy(whole, self.path(f"{name}.h5"))
            with h5py.File(self.path(f"{name}.h5"), "r+") as file:
                for key in list(file["runs"]):
                    group = file["runs"][key]
                    rows = group["rows"][()]
                    rows = rows[pick(rows)]
                    layers = group["layers"][()]
                    del group["rows"], group["layers"]
                    group["rows"] = rows
                    group["layers"] = layers[np.isin(layers["layer"], rows["layer"])]
                    group.attrs["layers_replayed"] = np.unique(rows["layer"])
                    group.attrs["steps_replayed"] = np.unique(rows["step"])
                    file["runs"].move(key, synthetic.digits(key, name))  # as run_key() would differ
            synthetic.sign(self.path(f"{name}.h5"))
        files = [whole] + [self.path(f"{name}.h5") for name in parts]
        self.assertEqual(call(*files, "--out", self.path("o"), "--format", "md", "csv"), 0)
        names = ["needle-4k", "needle-4k, layers 0-1", "needle-4k, steps 0, 2"]
        text = self.read("o", "table.md").decode()
        self.assertEqual(re.findall(r"^### (.*)$", text, re.M), names)
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        self.assertEqual(len(rows), 3 * (2 + 1 + 1 + 2 * 2))  # heading, rule; dense, streaming, 2 x 2
        self.assertNotIn("#", "".join(rows))  # no run is a twin of another
        ranking = re.findall(r"^### (.*), output error 1 %$", self.read("o", "ranking.md").decode(), re.M)
        self.assertEqual(ranking, names)
        origin = self.read("o", "report.md").decode()
        self.assertRegex(origin, r"needle-4k, layers 0-1 +\|.*\| +0-1 of 3 \|.*\| +0-3 \|")
        self.assertRegex(origin, r"needle-4k, steps 0, 2 +\|.*\| +0-1, 4 \|.*\| +0, 2 of 4 \|")
        self.assertEqual(call(*files, "--out", self.path("p"), "--only", "table", "--format", "md",
                              "--trace", "needle-4k, layers 0-1"), 0)
        self.assertEqual(re.findall(r"^### (.*)$", self.read("p", "table.md").decode(), re.M), names[1:2])

    def test_names_are_text_in_figures_and_tables(self):
        name = r"cost$\frac{1$ a|b\c `d` *e* <i> [f](g) $h_i$"
        run = [synthetic.run(policy, [synthetic.row(output_error=0.1, exact_tokens=10 + i)],
                             note="$x_1$ | *y*" + str(i))
               for i, policy in enumerate(["quest", "quest", "no$such{policy", "p|q\nr"])]
        result = synthetic.write(self.path("r.h5"), [synthetic.trace(name)], run, name="a | b\n$c$")
        self.assertEqual(call(result, "--out", self.path("o"), "--dpi", 60), 0)
        for page in ("report.md", "table.md", "ranking.md", "failures.md"):
            text = self.read("o", page).decode()
            self.assertIn(name.replace("$", ""), shown(text).replace("$", ""), page)
            if test_markdown.MarkdownIt:
                self.assertEqual(test_markdown.faults(text), [], page)

    def test_a_report_is_written_whole_or_not_at_all(self):
        result = synthetic.realistic(self.path("r.h5"), 2, 1, (0,), 2, 2, ("quest",))
        self.assertEqual(call(result, "--out", self.path("o"), "--dpi", 60), 0)
        before = {name: self.read("o", name) for name in os.listdir(self.path("o"))}
        other = synthetic.realistic(self.path("s.h5"), 3, 1, (0,), 2, 2, ("loki",))
        real, count = style.plt.Figure.savefig, iter(range(1000))

        def full_disk(figure, path, **options):
            if next(count) == 3:
                raise OSError(28, "No space left on device", path)
            return real(figure, path, **options)

        with unittest.mock.patch.object(style.plt.Figure, "savefig", full_disk):
            self.assertEqual(call(other, "--out", self.path("o"), "--dpi", 60), 2)
        self.assertGreater(next(count), 3)
        self.assertEqual({name: self.read("o", name) for name in os.listdir(self.path("o"))}, before)

    def test_policies_keep_their_look(self):
        looks = [style.look(policy) for policy in style.LOOK]
        self.assertEqual(len(set(looks)), len(looks))
        self.assertEqual(style.look("unheard_of"), style.look("unheard_of"))


if __name__ == "__main__":
    unittest.main()
