"""analysis.closed_loop: rows that are known, and a replay of the same settings."""

import json
import math
import os
import tempfile
import unittest
from types import SimpleNamespace

from analysis import closed_loop
from analysis.errors import ResultError

CONFIG = dict(models=[dict(name="m")], lengths=[100], policies=[
    dict(name="a", policy="quest"), dict(name="b", policy="double_p"), dict(name="c", policy="quest")])


def row(task, policy, solved, kl, share=0.1, question=0):
    return dict(model="m", length=100, task=task, policy=policy, question=question, solved=solved, kl=kl,
                bytes_share=share)


ROWS = [row("vt", "reference", True, 0.0, 1.0), row("vt", "a", False, 0.5), row("vt", "b", True, 0.1, 0.2),
        row("vt", "b", True, None, None, 1), row("cwe", "reference", False, 0.0, 1.0), row("cwe", "a", True, 9.0),
        {**row("held_out", "a", None, 0.3, 0.3)}]


class Rows(unittest.TestCase):
    def write(self, *lines):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "rows.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(lines)
        return path

    def line(self, value):
        return json.dumps(value) + "\n"

    def header(self, **other):
        return self.line(dict(format="doublep-accuracy", version=1, config=CONFIG) | other)

    def test_shards_join(self):
        paths = [self.write(self.header(), *map(self.line, part)) for part in (ROWS[:3], ROWS[3:])]
        (config, rows), = closed_loop.rows_of(paths)
        self.assertEqual((config, rows), (CONFIG, ROWS))
        cut = self.write(self.header(), self.line(ROWS[0]), self.line(ROWS[1])[:20])
        self.assertEqual(closed_loop.rows_of([cut]), [(CONFIG, ROWS[:1])])

    def test_what_is_no_file_of_rows(self):
        for text in ("", "{}\n", self.header(version=2), "[1]\n", "\xff"):
            with self.assertRaises(ResultError):
                closed_loop.rows_of([self.write(text)])

    def test_points(self):
        reference, a, b = closed_loop.points(CONFIG, ROWS)
        self.assertEqual((reference.name, reference.solved, reference.bytes_share), ("reference", 1, 1))
        self.assertEqual((a.name, a.solved), ("a", 0))  # cwe does not count: the reference fails there
        self.assertAlmostEqual(a.kl, 0.4)
        self.assertAlmostEqual(a.bytes_share, 0.2)
        self.assertEqual((b.solved, b.kl, b.bytes_share), (1, 0.1, 0.2))

    def test_rank_correlation(self):
        self.assertAlmostEqual(closed_loop.rank_correlation([1, 2, 3, 4], [10, 20, 25, 90]), 1)
        self.assertAlmostEqual(closed_loop.rank_correlation([1, 2, 3, 4], [9, 5, 3, 1]), -1)
        # By hand: ranks 0, 1.5, 1.5, 3 and 0, 1, 2, 3; covariance 1.125, variances 1.125 and 1.25.
        self.assertAlmostEqual(closed_loop.rank_correlation([1, 2, 2, 4], [1, 2, 3, 4]),
                               1.125 / math.sqrt(1.125 * 1.25))
        self.assertTrue(math.isnan(closed_loop.rank_correlation([1, 1], [1, 2])))

    def test_replay_beside_the_loop(self):
        """Four policies that the mean error ranks as the loop does, the worst head's the other way round."""
        loop = {"m, 100 tokens": [closed_loop.Point(name, "quest", 0.1, 1.0, kl) for name, kl in
                                  zip("abcd", (0.4, 0.3, 0.2, 0.1))]}
        replay = {"trace": {name: SimpleNamespace(error=e, error_p95=0.5, error_worst_head=1 - e, error_median=e,
                                                  exact_mass=1 - e, missed_mass=e, lse_error=e, clusters=0,
                                                  covered_mass=1 - e, bytes_ratio=0.1)
                            for name, e in zip("abcd", (0.4, 0.3, 0.2, 0.1))}}
        with tempfile.TemporaryDirectory() as out:
            closed_loop.compare(loop, replay, out)
            with open(os.path.join(out, "open_loop.md"), encoding="utf-8") as file:
                text = file.read()
            self.assertTrue(os.path.exists(os.path.join(out, "open_loop.png")))
        line = next(line for line in text.splitlines() if line.startswith("| trace  "))
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        self.assertEqual(cells, ["trace", "m, 100 tokens", "4 all", "1.00", "–", "-1.00", "1.00", "1.00", "1.00", "1.00"])
        self.assertIn("- all: highest on average is mean error, 1.00.\n", text)
        self.assertIn("| a      | 0.100 |     0.4000 | 0.500 |      0.600 |            0.600 |   0.600 |            0.4000 |",
                      text)
        del replay["trace"]["a"]
        with self.assertRaisesRegex(ResultError, r"four runs titled as policies of the rows \(found 3\)"):
            closed_loop.compare(loop, replay, out)

    def test_kinds_of_policy_are_ranked_each_for_itself(self):
        """Four with terms and four without: mass not attended exactly tells the kinds apart, and ranks those with terms
        the wrong way round; p95 of the error is right within either."""
        def summary(p95, missed, clusters):
            return SimpleNamespace(error=p95, error_p95=p95, error_worst_head=p95, error_median=p95, lse_error=p95,
                                   exact_mass=1 - missed, covered_mass=1, missed_mass=0, clusters=clusters, bytes_ratio=0.1)

        terms = {f"t{i}": (summary(0.1 + 0.1 * i, 0.15 - 0.01 * i, 5.5), 0.01 * (i + 1)) for i in range(4)}
        others = {f"o{i}": (summary(0.1 + 0.1 * i, 0.5 + 0.1 * i, 0), 0.1 * (i + 1)) for i in range(4)}
        both = terms | others
        loop = {"m": [closed_loop.Point(name, "double_p" if name in terms or name == "o0" else "quest", 0.1, 1.0, kl)
                      for name, (_, kl) in both.items()]}
        pairs = [(both[p.name][0], p) for p in loop["m"]]
        self.assertEqual({kind: [p.name for _, p in some] for kind, some in closed_loop.kinds(pairs).items()},
                         {"all": list(both), "with terms": list(terms), "without terms": list(others),
                          "of double_p alone": [*terms, "o0"]})  # quest has three
        with tempfile.TemporaryDirectory() as out:
            closed_loop.compare(loop, {"trace": {name: s for name, (s, _) in both.items()}}, out)
            with open(os.path.join(out, "open_loop.md"), encoding="utf-8") as file:
                text = file.read()
        of = {cells[3]: cells[4:-1] for cells in ([c.strip() for c in line.split("|")] for line in text.splitlines()
                                                  if line.startswith("| trace "))}
        self.assertEqual((of["4 with terms"][1], of["4 with terms"][4]), ("1.00", "-1.00"))
        self.assertEqual((of["4 without terms"][1], of["4 without terms"][4]), ("1.00", "1.00"))
        self.assertGreater(float(of["8 all"][4]), float(of["8 all"][1]))
        # Whatever is drawn of the four, the one orders it rightly and the other the wrong way round.
        self.assertIn("- with terms: highest on average is mean error, 1.00; p95 of the error less mass not attended exactly "
                      "is 2.00, in 95 % of draws of as many policies 2.00 to 2.00.", text)

    def test_draws_are_of_what_all_cells_hold(self):
        def summary(x):
            return SimpleNamespace(**dict.fromkeys(("error", "error_p95", "error_worst_head", "error_median", "exact_mass",
                                                    "missed_mass", "lse_error"), x))

        cell = [(summary(x), closed_loop.Point(str(x), "quest", 0.1, 1.0, x)) for x in range(5)]
        self.assertIn("draws", closed_loop.verdict("all", [cell, cell])[1])
        self.assertNotIn("draws", closed_loop.verdict("all", [cell, cell[1:]])[1])

    def test_a_picture(self):
        path = self.write(self.header(), *map(self.line, ROWS))
        out = os.path.dirname(path)
        self.assertEqual(closed_loop.main([path, "--out", out]), 0)
        with open(os.path.join(out, "closed_loop.png"), "rb") as file:
            self.assertEqual(file.read(4), b"\x89PNG")


if __name__ == "__main__":
    unittest.main()
