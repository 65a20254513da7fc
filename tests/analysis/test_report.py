"""The whole report: what is written, that it is the same twice, and that odd sweeps pass."""

import contextlib
import io
import math
import os
import re
import tempfile
import unittest

import synthetic

from analysis import report, style


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
        self.assertEqual(text.count("### needle-4k, output error"), 3)

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

    def test_policies_keep_their_look(self):
        looks = [style.look(policy) for policy in style.LOOK]
        self.assertEqual(len(set(looks)), len(looks))
        self.assertEqual(style.look("unheard_of"), style.look("unheard_of"))


if __name__ == "__main__":
    unittest.main()
