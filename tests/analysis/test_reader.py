"""What is refused, and that the one line says file, place, expectation and remedy."""

import os
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np
import synthetic

from analysis.errors import ResultError
from analysis.reader import read
from analysis.results import join, only, ranges

REPORT = os.path.join(os.path.dirname(__file__), "..", "..", "analysis", "report.py")


class Reading(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)

    def path(self, name="r.h5"):
        return os.path.join(self._folder.name, name)

    def toy(self, name="r.h5", runs=None, **root):
        runs = runs or [synthetic.run("quest", [synthetic.row()], budget=64)]
        return synthetic.write(self.path(name), [synthetic.trace()], runs, **root)

    def refused(self, path, *words):
        with self.assertRaises(ResultError) as caught:
            read(path)
        line = str(caught.exception)
        self.assertNotIn("\n", line)
        for word in (str(path), "expected") + words:
            self.assertIn(word, line)

    def test_reads_what_was_written(self):
        runs = [synthetic.run("quest", [synthetic.row(exact_tokens=7)], order=3, budget=64,
                              base=dict(page=16), target_p=0.9, kv_dtype="bf16")]
        results = read(self.toy(runs=runs, commit="abc"))
        run = results.runs[0]
        self.assertEqual(run.parameters, {"budget": 64, "base.page": 16})
        self.assertEqual((run.policy, run.target_p, run.kv_dtype, run.place), ("quest", 0.9, "bf16", (0, 3)))
        self.assertEqual(run.rows["exact_tokens"].tolist(), [7])
        self.assertEqual((run.trace.name, run.trace.layers), ("toy", (0,)))
        self.assertEqual(results.sweeps[0].commit, "abc")

    def test_fixed_length_strings_are_read_too(self):
        path = self.toy()
        with h5py.File(path, "r+") as file:
            file.attrs["format"] = np.bytes_("doublep-result")
        self.assertEqual(len(read(path).runs), 1)

    def test_missing_file_and_not_hdf5(self):
        self.refused(self.path("absent.h5"), "does not exist")
        with open(self.path("text.h5"), "w") as file:
            file.write("not HDF5\n" * 100)
        self.refused(self.path("text.h5"), "an HDF5 file")

    def test_truncated(self):
        path = self.toy()
        with open(path, "r+b") as file:
            file.truncate(os.path.getsize(path) // 2)
        self.refused(path)

    def test_wrong_format_and_version(self):
        self.refused(self.toy(format="kv-trace"), "'format'", "doublep-result", "kv-trace")
        for version in (0, 1, 2, 4):
            self.refused(self.toy(version=version), f"attribute 'version': expected 3, found {version}; ",
                         "write it again with `doublep run`")

    def test_missing_attribute_group_and_field(self):
        path = self.toy()
        with h5py.File(path, "r+") as file:
            key = list(file["runs"])[0]
            del file["runs"][key].attrs["target_p"]
        self.refused(path, f"/runs/{key}", "'target_p'")
        path = self.toy()
        with h5py.File(path, "r+") as file:
            del file["traces"]
        self.refused(path, "/traces")
        path = self.toy()
        with h5py.File(path, "r+") as file:
            rows = file["runs"][key]["rows"][()]
            del file["runs"][key]["rows"]
            fields = [name for name in rows.dtype.names if name != "covered_mass"]
            file["runs"][key]["rows"] = rows[fields].copy()
        self.refused(path, f"/runs/{key}/rows", "'covered_mass'")

    def test_bad_values(self):
        self.refused(synthetic.write(self.path(), [synthetic.trace()], []), "/runs", "at least one run")
        twice = synthetic.run("quest", [synthetic.row(), synthetic.row()])
        self.refused(self.toy(runs=[twice]), "one row per (layer, head, step)")
        blind = synthetic.run("quest", [synthetic.row(visible_tokens=0)])
        self.refused(self.toy(runs=[blind]), "rows[0]", "visible_tokens")
        self.refused(self.toy(runs=[synthetic.run("quest", [])]), "at least one row")
        path = self.toy()
        with h5py.File(path, "r+") as file:
            file["runs"][list(file["runs"])[0]].attrs["parameters"] = "{p: 1}"
        synthetic.sign(path)
        self.refused(path, "'parameters'", "JSON")
        with h5py.File(self.toy(), "r+") as file:
            file["runs"][list(file["runs"])[0]].attrs["trace"] = "7"
        synthetic.sign(path)
        self.refused(path, "'trace'", "'7'")

    def test_damage_is_found_and_named(self):
        def row(file, key):
            rows = file["runs"][key]["rows"][()]
            rows["covered_mass"] = 0.5
            file["runs"][key]["rows"][...] = rows

        def layer(file, key):
            layers = file["runs"][key]["layers"][()]
            layers["seconds_steps"] = 9
            file["runs"][key]["layers"][...] = layers

        def target(file, key):
            file["runs"][key].attrs["target_p"] = 0.5

        def name(file, key):
            file["traces"]["0"].attrs["name"] = "other"

        for damage, words in ((row, ["'quest'", "damaged"]), (layer, ["'quest'", "damaged"]),
                              (target, ["'quest'", "damaged"]), (name, ["traces", "damaged"])):
            with self.subTest(damage.__name__):
                path = self.toy()
                with h5py.File(path, "r+") as file:
                    damage(file, list(file["runs"])[0])
                self.refused(path, *words)

    def test_a_field_more_is_read_and_hashed(self):
        path = self.toy()
        with h5py.File(path, "r+") as file:
            group = file["runs"][list(file["runs"])[0]]
            rows = group["rows"][()]
            wide = np.zeros(len(rows), dtype=rows.dtype.descr + [("surprise", "<f8")])
            for field in rows.dtype.names:
                wide[field] = rows[field]
            wide["surprise"] = 0.25
            del group["rows"]
            group["rows"] = wide
        synthetic.sign(path)
        self.assertEqual(read(path).runs[0].rows["surprise"].tolist(), [0.25])

    def test_what_was_replayed(self):
        run = read(self.toy(runs=[synthetic.run("quest", [synthetic.row(layer=0, step=3)])])).runs[0]
        self.assertEqual((run.trace.replay.layers, run.trace.replay.steps), ((0,), (3,)))

    def test_join(self):
        one = read(self.toy("a.h5"))
        other = read(self.toy("b.h5", runs=[synthetic.run("loki", [synthetic.row()], order=-5)]))
        both = join([one, read(self.toy("a.h5")), other])
        self.assertEqual([run.policy for run in both.runs], ["quest", "loki"])  # file, then order
        self.assertEqual((len(both.traces), len(both.sweeps)), (1, 3))
        self.assertEqual([r.policy for r in only(both, policies=["loki"]).runs], ["loki"])

    def test_runs_of_another_program_are_kept_beside(self):
        one, other = read(self.toy("a.h5")), read(self.toy("b.h5", program_hash="other"))
        self.assertEqual([r.program == "other" for r in join([one, other]).runs], [False, True])

    def test_traces_of_one_name_and_other_content_stay_apart(self):
        trace = dict(synthetic.trace(), hash="ffff000011112222")
        path = synthetic.write(self.path("b.h5"), [trace], [synthetic.run("quest", [synthetic.row()])])
        names = [t.name for t in join([read(self.toy("a.h5")), read(path)]).traces]
        self.assertEqual(len(set(names)), 2)
        self.assertTrue(names[1].startswith("toy (ffff00"))

    def test_two_traces_of_one_name_in_one_file(self):
        traces = [synthetic.trace(), dict(synthetic.trace(), hash="ffff000011112222")]
        runs = [synthetic.run("quest", [synthetic.row()], trace=str(i), order=i) for i in range(2)]
        joined = join([read(synthetic.write(self.path("c.h5"), traces, runs))])
        self.assertEqual(len({run.trace.name for run in joined.runs}), 2)
        self.assertEqual(len(only(joined, traces=["toy"]).runs), 2)
        self.assertEqual(len(only(joined, traces=["toy (ffff00)"]).runs), 1)

    def test_ranges(self):
        for numbers, text in (((), ""), ((3,), "3"), ((0, 1), "0-1"), ((0, 5), "0, 5"),
                              ((0, 1, 2, 7), "0-2, 7"), ((0, 2, 3, 4), "0, 2-4"),
                              (range(0, 32, 4), "0-28 by 4")):
            self.assertEqual(ranges(numbers), text)

    def test_program_exits_with_2_and_one_line(self):
        for arguments in (["absent.h5", "--out", self._folder.name],
                          [self.toy(), "--out", self.path() + "/under_a_file"],
                          [self.toy(), "--out", self._folder.name, "--policy", "none_such"]):
            done = subprocess.run([sys.executable, REPORT] + arguments, capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertTrue(done.stderr.startswith("error: "), done.stderr)


if __name__ == "__main__":
    unittest.main()
