"""The rows as Parquet: every value and type of the result file, and the columns of `doublep export`."""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

import h5py
import numpy as np
import synthetic

from analysis import parquet

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    pyarrow = None
PROGRAM = os.environ.get("DOUBLEP_PROGRAM")


def call(*arguments):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        status = parquet.main([str(a) for a in arguments])
    return status, said.getvalue()


class Parquet(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.out = self.path("rows.parquet")
        self.result = synthetic.realistic(self.path("r.h5"), 2, 2, (1, 5), 2, 3, ("double_p", "magicpig"))

    def path(self, name):
        return os.path.join(self.folder, name)

    @unittest.skipIf(pyarrow is None, "pyarrow is not installed: pip install -r analysis/requirements.txt")
    def test_every_value_and_type_of_the_file(self):
        self.assertEqual(call(self.result, "-o", self.out), (0, ""))
        read = pyarrow.parquet.read_table(self.out)
        with h5py.File(self.result) as file:
            runs = sorted(file["runs"].items(), key=lambda item: item[1].attrs["order"])
            names = runs[0][1]["rows"].dtype
            for field in names.names:
                stored = np.concatenate([run["rows"][field] for _, run in runs])
                column = read.column(field).to_numpy()
                self.assertEqual(column.dtype, names[field], field)
                np.testing.assert_array_equal(column, stored, field)
            self.assertEqual(read.column("run").to_pylist(), [key for key, run in runs for _ in run["rows"]])
            self.assertEqual(
                read.column("parameters").to_pylist(),
                [run.attrs["parameters"] for _, run in runs for _ in run["rows"]],
            )
            origin = json.loads(read.schema.metadata[b"doublep-result"])
            self.assertEqual([(one["config"], one["commit"]) for one in origin], [("{}", "0123abc")])
            self.assertEqual(pyarrow.parquet.ParquetFile(self.out).num_row_groups, len(runs))

    @unittest.skipIf(pyarrow is None, "pyarrow is not installed: pip install -r analysis/requirements.txt")
    @unittest.skipUnless(PROGRAM, "DOUBLEP_PROGRAM names no program")
    def test_the_columns_of_export(self):
        with open(self.path("sweep.yaml"), "w") as file:
            file.write("name: s\ntraces: [synth.h5]\npolicies: [dense, {policy: quest, budget: [64, 128]}]\n")
        for command in (
            ["synth", "-o", self.path("synth.h5"), "--tokens", "600", "--steps", "4"],
            ["run", self.path("sweep.yaml"), "-o", self.path("s.h5")],
        ):
            done = subprocess.run([PROGRAM, *command], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
        text = subprocess.run(
            [PROGRAM, "export", self.path("s.h5")], capture_output=True, text=True, check=True
        ).stdout
        header, *lines = csv.reader(io.StringIO(text))
        self.assertEqual(call(self.path("s.h5"), "-o", self.out), (0, ""))
        read = pyarrow.parquet.read_table(self.out)
        self.assertEqual(read.column_names, header)
        self.assertGreater(len(lines), 10)
        for name, *values in zip(header, *lines):
            column = read.column(name).to_pylist()
            if isinstance(column[0], str):
                self.assertEqual(column, values, name)
            else:
                np.testing.assert_array_equal(np.array(column, dtype=float), np.array(values, dtype=float), name)

    def refused(self, *arguments, words):
        before = sorted(os.listdir(self.folder))
        status, said = call(*arguments)
        self.assertEqual((status, said.count("\n")), (2, 1), said)
        for word in ("error: ", "expected", words):
            self.assertIn(word, said)
        self.assertEqual(sorted(os.listdir(self.folder)), before)

    def test_without_pyarrow(self):
        with unittest.mock.patch.dict(sys.modules, {"pyarrow": None}):
            self.refused(self.result, "-o", self.out, words="pip install -r analysis/requirements.txt")

    @unittest.skipIf(pyarrow is None, "pyarrow is not installed: pip install -r analysis/requirements.txt")
    def test_bad_input(self):
        self.refused(self.path("absent.h5"), "-o", self.out, words="does not exist")
        self.refused(self.result, "-o", self.result, words="another file than the result")
        self.refused(self.result, "-o", self.path("no/folder.parquet"), words="choose another -o")
        self.refused(self.result, "--policy", "none", "-o", self.out, words="check --policy")


if __name__ == "__main__":
    unittest.main()
