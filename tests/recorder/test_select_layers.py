"""Some layers of a trace as a trace of their own; the shipped one was made so."""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SCRIPT = os.path.join(ROOT, "data", "select_layers.py")
SHARED = os.environ.get("DOUBLEP_SHARED", os.path.join(ROOT, "..", "shared"))


def select(trace, layers, out):
    return subprocess.run([sys.executable, SCRIPT, trace, "--layers", layers, "--out", out],
                          capture_output=True, text=True)


def content(path):
    with open(path, "rb") as file:
        return file.read()


class SelectLayers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.trace, self.out = (os.path.join(self.folder, name) for name in ("t.h5", "s.h5"))
        with h5py.File(self.trace, "w") as f:
            f.attrs.update(format="kv-trace", version=1, rope_applied=True, softmax_scale=0.25,
                           extra="kept too")
            f["positions"] = np.arange(5, 8)
            f["token_ids"] = np.arange(8)
            for layer in (3, 11, 2):
                group = f.create_group(f"layers/{layer}")
                group.attrs["sliding_window"] = layer
                group["keys"] = np.full((2, 8, 4), layer, np.float16)
                group["prefill_queries"] = np.full((5, 2, 4), layer, np.uint16)
                group["prefill_queries"].attrs["encoding"] = "bfloat16"

    def test_takes_what_is_named_and_all_else(self):
        self.assertEqual(select(self.trace, "11,2", self.out).returncode, 0)
        with h5py.File(self.trace) as old, h5py.File(self.out) as new:
            self.assertEqual(sorted(new["layers"]), ["11", "2"])
            self.assertEqual(dict(new.attrs), dict(old.attrs))
            names = []
            new.visit(names.append)
            self.assertIn("token_ids", names)
            self.assertIn("layers/11/prefill_queries", names)
            for name in names:
                self.assertEqual(dict(new[name].attrs), dict(old[name].attrs))
                if isinstance(new[name], h5py.Dataset):
                    self.assertEqual(new[name].dtype, old[name].dtype)
                    np.testing.assert_array_equal(new[name], old[name])
        first = content(self.out)
        select(self.trace, "11,2", self.out)
        self.assertEqual(content(self.out), first)

    def test_refusals_are_one_line_and_leave_nothing(self):
        before = content(self.trace)
        broken = os.path.join(self.folder, "broken.h5")
        with open(broken, "w") as file:
            file.write("text")
        for trace, layers, out, words in (
                (self.trace, "2,4", self.out, "has no layer 4; it has 2, 3, 11"),
                (self.trace, "2", self.trace, "is the trace itself"),
                (self.folder + "/none.h5", "2", self.out, "none.h5"),
                (broken, "2", self.out, "broken.h5"),
                (self.trace, "2", self.folder + "/no/s.h5", "s.h5"),
                (self.trace, "2,2", self.out, "expected different numbers"),
                (self.trace, "two", self.out, "expected different numbers")):
            run = select(trace, layers, out)
            self.assertEqual((run.returncode, run.stdout), (2, ""), run.stderr)
            self.assertIn(words, run.stderr.splitlines()[-1])
            self.assertEqual(sorted(os.listdir(self.folder)), ["broken.h5", "t.h5"])
        self.assertEqual(content(self.trace), before)

    def test_the_shipped_trace_is_what_its_page_says(self):
        with open(os.path.join(ROOT, "data", "README.md"), encoding="utf-8") as file:
            page = file.read()
        shipped = hashlib.sha256(content(os.path.join(ROOT, "data", "qwen-needle-8k.h5"))).hexdigest()
        fixture = hashlib.sha256(content(os.path.join(ROOT, "tests", "data", "needle-4k.h5"))).hexdigest()
        self.assertIn(shipped, page)
        self.assertIn(fixture, page)
        layers = re.search(r"select_layers.py \S*qwen-needle-8k.h5 --layers (\S+)", page)[1]
        source = os.path.join(SHARED, "traces", "qwen-needle-8k.h5")
        if not os.path.exists(source):
            self.skipTest(f"{source} is not there; set DOUBLEP_SHARED to what holds traces/")
        self.assertIn(hashlib.sha256(content(source)).hexdigest(), page)
        self.assertEqual(select(source, layers, self.out).returncode, 0)
        self.assertEqual(hashlib.sha256(content(self.out)).hexdigest(), shipped)


if __name__ == "__main__":
    unittest.main()
