"""Times at equal output error, against values worked out by hand."""

import contextlib
import io
import json
import os
import tempfile
import unittest

from analysis import bench_error
from analysis.bench_file import read, tokens
from analysis.equal_error import (AT_LEAST, AT_MOST, EXACT, cells, dense_times, families, frontier,
                                  markdown, match, settings)
from analysis.errors import ResultError


def point(label, time, error, context=65536, batch=1):
    policy = label.partition(":")[0]
    search = "none" if policy in ("dense", "streaming") else "clusters"
    return {"label": label, "policy": policy, "search": search, "context": context, "batch": batch,
            "step_us": time, "error_mean": error}


def bench(points):
    return {"device": "a GPU, sm_90", "query_heads": 8, "kv_heads": 2, "head_dim": 64,
            "dtype": "bf16", "read_ceiling": 1e12, "points": points}


def quest(*pairs):
    return [point(f"quest:budget={i}", time, error) for i, (time, error) in enumerate(pairs)]


POINTS = (quest((100, 0.4), (400, 0.1), (500, 0.2))
          + [point("double_p", 50, 0.2), point("double_p:p1=0.9,p2=0.3", 25, 0.8),
             point("double_p:p1=1,p2=1", 200, 0.05), point("dense", 900, 0.0)])


class Families(unittest.TestCase):
    def test_a_packed_cache_is_no_point_of_a_curve(self):
        packed = dict(point("double_p:kv_dtype=fp8", 10, 0.1), kv_dtype="fp8")
        plain = dict(point("double_p", 20, 0.1), kv_dtype="bf16")
        self.assertEqual(families([packed, plain]), {"double_p": [plain]})

    def test_the_line_of_dense_is_the_one_without_error(self):
        packed = dict(point("dense:kv_dtype=fp8", 500, 0.02), kv_dtype="fp8")
        self.assertEqual(dense_times([point("dense", 900, 0.0), packed]), [900])

    def test_a_family_is_a_policy_with_any_settings(self):
        labels = ["quest:budget=1", "retroinfer", "retroinfer:retrieval=0.1,estimation=0.2"]
        found = families([point(label, 1, 1) for label in labels])
        self.assertEqual({name: [p["label"] for p in mine] for name, mine in found.items()},
                         {"quest": labels[:1], "retroinfer": labels[1:]})

    def test_what_searches_nothing_is_none(self):
        for label in ("dense", "streaming", "streaming:sink=8"):
            self.assertEqual(families([point(label, 1, 1)]), {}, label)

    def test_frontier_is_lower_left(self):
        kept = frontier(quest((3, 0.3), (1, 0.5), (2, 0.5), (4, 0.1), (5, 0.2)))
        self.assertEqual([p["step_us"] for p in kept], [1, 3, 4])


class Matches(unittest.TestCase):
    def test_halfway_in_log_log(self):
        found = match(quest((400, 0.1), (100, 0.4)), 0.2)
        self.assertAlmostEqual(found.time, 200)  # 250 and 300 if error or time were linear
        self.assertEqual(found.mark, EXACT)

    def test_neighbours_only_and_of_the_frontier(self):
        rival = quest((100, 0.4), (400, 0.1), (300, 0.39), (1600, 0.025), (390, 0.2))
        self.assertAlmostEqual(match(rival, 0.05).time, 800)
        self.assertEqual(match(rival, 0.2).time, 390)
        beaten = quest((100, 0.4), (400, 0.1), (410, 0.2))
        self.assertAlmostEqual(match(beaten, 0.2).time, 200)

    def test_neighbours_far_apart_are_interpolated_too(self):
        found = match(quest((100, 0.4), (10000, 0.004)), 0.04)
        self.assertAlmostEqual(found.time, 1000)
        self.assertEqual(found.mark, EXACT)

    def test_a_rival_that_comes_not_so_low_takes_at_least_its_best(self):
        found = match(quest((100, 0.4), (400, 0.1), (900, 0.1)), 0.05)
        self.assertEqual((found.time, found.mark, found.error), (400, AT_LEAST, 0.1))

    def test_a_rival_that_is_lower_already_takes_at_most_its_fastest(self):
        rival = quest((100, 0.4), (400, 0.1), (200, 0.6))
        for error in (0.5, 0.9):  # below and above its largest measured error
            found = match(rival, error)
            self.assertEqual((found.time, found.mark, found.error), (100, AT_MOST, 0.4))

    def test_a_measured_error_is_neither(self):
        for error, time in ((0.4, 100), (0.1, 400)):
            found = match(quest((100, 0.4), (400, 0.1)), error)
            self.assertEqual((found.time, found.mark), (time, EXACT))

    def test_no_line_leads_to_an_error_of_zero(self):
        found = match(quest((100, 0.4), (400, 0.0)), 0.2)
        self.assertEqual((found.time, found.mark, found.error), (400, AT_MOST, 0.0))

    def test_cells(self):
        rival = quest((100, 0.4), (400, 0.1))
        self.assertEqual(cells(50, match(rival, 0.2)), ["200.0", "4.00"])
        self.assertEqual(cells(50, match(rival, 0.05)), ["≥ 400.0, not below 0.1000", "≥ 8.00"])
        self.assertEqual(cells(50, match(rival, 0.5)), ["≤ 100.0, at 0.4000", "≤ 2.00"])


class Tables(unittest.TestCase):
    def lines(self, points):
        text = markdown(points, [65536], [1])
        return [[cell.strip() for cell in line.split("|")[1:-1]]
                for line in text.splitlines() if line.startswith("|")]

    def test_a_line_per_point_of_the_frontier(self):
        head, _, *lines = self.lines(POINTS)
        self.assertEqual(head, ["Double-P", "µs", "error", "Quest, µs", "ratio"])
        self.assertEqual(lines, [
            ["p1=0.9 p2=0.3", "25.0", "0.8000", "≤ 100.0, at 0.4000", "≤ 4.00"],
            ["default", "50.0", "0.2000", "200.0", "4.00"],
            ["p1=1 p2=1", "200.0", "0.0500", "≥ 400.0, not below 0.1000", "≥ 2.00"]])

    def test_contexts_and_batches_do_not_mix(self):
        other = [point("quest:budget=9", 1, 0.01, batch=8), point("quest:budget=9", 1, 0.01, 8192)]
        self.assertEqual(self.lines(POINTS + other), self.lines(POINTS))

    def test_names(self):
        self.assertEqual([tokens(n) for n in (8192, 2**20, 1000)], ["8K", "1M", "1000"])
        self.assertEqual(settings("double_p:p1=0.9,gqa=group_sum"), "p1=0.9 gqa=group_sum")


class Program(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, content):
        with open(self.path("bench.json"), "w", encoding="utf-8") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))
        return self.path("bench.json")

    def status(self, *words):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = bench_error.main([*words, "-o", self.path("figure.png")])
        return code, out.getvalue(), err.getvalue()

    def test_writes_figure_and_table(self):
        path = self.write(bench(POINTS))
        one = [path, "--context", "64K", "--batch", "1"]
        code, out, err = self.status(*one)
        self.assertEqual((code, err), (0, ""))
        with open(self.path("figure.png"), "rb") as file:
            self.assertEqual(file.read(4), b"\x89PNG")
        self.assertEqual(self.status(*one, "--table", self.path("t.md"))[:2], (0, ""))
        with open(self.path("t.md"), encoding="utf-8") as file:
            self.assertEqual(file.read(), out)
        self.assertIn("### 64K, batch 1", out)

    def refuses(self, expected, *words):
        code, out, err = self.status(*words)
        self.assertEqual((code, out, err.count("\n")), (2, "", 1), err)
        self.assertIn(expected, err)

    def test_panels_that_are_not_there(self):
        path = self.write(bench(POINTS + [point("quest", 1, 1, 8192)]))
        self.refuses("context 128K, batch 1: expected timed points, found none; choose by "
                     "--context and --batch of: 8K at 1; 64K at 1",
                     path, "--context", "128K", "--batch", "1")
        self.refuses("found quest", path, "--context", "8192", "--batch", "1")

    def test_places_that_cannot_be_written(self):
        one = [self.write(bench(POINTS)), "--context", "64K", "--batch", "1"]
        self.refuses("absent/t.md: expected a file that can be written", *one, "--table",
                     self.path("absent/t.md"))

    def test_files_that_are_none(self):
        self.refuses("absent.json: expected a file that can be read", self.path("absent.json"))
        for content, expected in (
                ('{"points": [nan]}', "expected JSON"), ([], "top level: expected an object"),
                ({"device": "x"}, "top level: expected key 'query_heads', found none"),
                (bench([]), "key 'points': expected a list"),
                (bench([{"label": "dense", "policy": "dense", "search": "none"}]),
                 "points[0]: expected key 'context'"),
                (bench([point("quest", "1", 0)]), "points[0], key 'step_us': expected a number"),
                (bench([point("quest", 0, 0)]), "key 'step_us': expected a number above 0"),
                (bench([point("quest", 1, -1)]), "key 'error_mean': expected a number of 0"),
                (bench([point("quest", 1, float("inf"))]), "key 'error_mean'")):
            path = self.write(content)
            self.refuses(expected, path)
            with self.assertRaises(ResultError):
                read(path)


if __name__ == "__main__":
    unittest.main()
