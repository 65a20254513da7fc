"""Trace, replay and run: the arrays are the file's, the rows are the program's, bit for bit."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

try:
    import h5py
except ImportError as error:  # the package itself brings NumPy alone
    raise unittest.SkipTest(f"arrays are not held against the file: {error}")
import numpy as np
from support import NEEDLE

import doublep

SWEEP = """
name: both
traces: [{trace}]
seed: [3]
replay: {{layers: [7], every_step: 2, max_steps: 8}}
policies:
  - dense
  - {{policy: double_p, variant: best, share: [0.04, 0.1]}}
  - {{policy: quest, budget: 25%}}
  - {{policy: vattention}}
  - {{policy: cluster_top_p, audit: 64}}
"""
SECONDS = ("seconds_index", "seconds_steps")


class Traces(unittest.TestCase):
    def test_it_holds_what_the_file_holds(self):
        trace = doublep.Trace(Path(NEEDLE))
        with h5py.File(NEEDLE, "r") as file:
            for name in ("num_query_heads", "num_kv_heads", "head_dim", "num_tokens", "seed",
                         "softmax_scale", "model", "task"):
                self.assertEqual(getattr(trace, name), file.attrs[name], name)
            np.testing.assert_array_equal(trace.positions, file["positions"])
            self.assertEqual(trace.layers, sorted(int(i) for i in file["layers"]))
            for i in trace.layers:
                layer, stored = trace.layer(i), file[f"layers/{i}"]
                self.assertEqual(layer.layer, i)
                for name in ("keys", "values", "queries", "outputs", "prefill_queries"):
                    found = getattr(layer, name)
                    if name not in stored:
                        self.assertIsNone(found)
                        continue
                    self.assertEqual(found.dtype, np.float32)
                    np.testing.assert_array_equal(found, stored[name][:].astype(np.float32))
        self.assertEqual((trace.path, trace.name), (NEEDLE, "needle-4k"))
        self.assertEqual((trace.value_dim, trace.num_steps), (trace.head_dim, 32))
        self.assertEqual(trace.other_attention, {})
        self.assertRegex(trace.content_hash, "^[0-9a-f]{16}$")

    def test_an_array_outlives_its_trace(self):
        keys = doublep.Trace(NEEDLE).layer(4).keys
        with h5py.File(NEEDLE, "r") as file:
            np.testing.assert_array_equal(keys, file["layers/4/keys"][:].astype(np.float32))


class AgainstTheProgram(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.config = os.path.join(folder.name, "both.yaml")
        result = os.path.join(folder.name, "both.h5")
        Path(cls.config).write_text(SWEEP.format(trace=NEEDLE))
        subprocess.run([sys.executable, "-m", "doublep", "run", cls.config, "-o", result],
                       check=True, capture_output=True)
        with h5py.File(result, "r") as file:
            runs = sorted(file["runs"].values(), key=lambda run: run.attrs["order"])
            cls.expected = [({name: value.decode() if isinstance(value, bytes) else value
                              for name, value in run.attrs.items()},
                             run["rows"][:], run["layers"][:]) for run in runs]
        cls.found = doublep.run(cls.config)

    def check_table(self, found, expected, besides=()):
        self.assertEqual(found.dtype.names, expected.dtype.names)
        for name in set(found.dtype.names) - set(besides):
            self.assertEqual(found.dtype[name], expected.dtype[name])
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)

    def test_run(self):
        self.assertEqual(len(self.expected), 6)
        self.assertEqual([r.label for r in self.found], [run["label"] for run, _, _ in self.expected])
        for result, (run, rows, layers) in zip(self.found, self.expected):
            with self.subTest(result.label):
                self.check_table(result.rows, rows)
                self.check_table(result.layers, layers, besides=SECONDS)
                self.assertEqual((result.trace, result.policy, result.seed),
                                 ("needle-4k", run["policy"], run["seed"]))
                self.assertEqual(result.target_p, run["target_p"])
                np.testing.assert_array_equal(result.steps, [0, 2, 4, 6])

    def test_replay(self):
        trace = doublep.Trace(NEEDLE)
        for parameters, (run, rows, layers) in zip(
                ({}, dict(variant="best", share=0.04), dict(variant="best", share=0.1),
                 dict(budget=0.25), {}, dict(audit=64)), self.expected):
            with self.subTest(run["label"]):
                result = doublep.replay(trace, run["policy"], layers=[7], every_step=2, max_steps=8,
                                        seed=3, **parameters)
                self.check_table(result.rows, rows)
                self.check_table(result.layers, layers, besides=SECONDS)
                self.assertEqual(result.parameters, self.found[int(run["order"])].parameters)

    def test_overrides(self):
        results = doublep.run(self.config, ["quest.budget=64", "replay.max_steps=1"])
        self.assertEqual(len(results[0].rows), 8)
        self.assertEqual([r.parameters["budget"] for r in results if r.policy == "quest"], [64])

    def test_fields_are_described(self):
        fields = doublep.row_fields()
        self.assertEqual(tuple(fields), self.expected[0][1].dtype.names)
        self.assertEqual(fields["bytes_attend"]["unit"], "bytes")
        self.assertIn("true softmax mass", fields["exact_mass"]["meaning"])


class Tuned(unittest.TestCase):
    def read(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "tuned.yaml")
            path.write_text(text)
            return doublep.tuned(path)

    def test_what_was_chosen_by_layer(self):
        found = self.read("tuned:\n"
                          "  - {policy: quest, trace: t, backend: cpu, layers: {4: {budget: 16}, 7: {budget: 0.5}}}\n"
                          "  - {policy: streaming, layers: {9: {sink: 2, window: 8}}}\n")
        self.assertEqual([(c["policy"], c["trace"], c["backend"]) for c in found],
                         [("quest", "t", "cpu"), ("streaming", "", "")])
        self.assertEqual(found[1]["layers"], {9: {"sink": 2, "window": 8}})
        for layer, budget in ((4, 16), (7, 0.5)):
            chosen = found[0]["layers"][layer]
            self.assertEqual((type(chosen["budget"]), chosen["budget"]), (type(budget), budget))
            self.assertEqual(doublep.Decoder("quest", **chosen).parameters, chosen)

    def test_where_it_is_wrong(self):
        with self.assertRaisesRegex(doublep.InputError, r"tuned.yaml:1:\d+: .*expected the number of a layer"):
            self.read("tuned: [{policy: quest, layers: {x: {budget: 16}}}]\n")
        with self.assertRaisesRegex(doublep.InputError, "expected the key `tuned`"):
            self.read("policies: [dense]\n")


if __name__ == "__main__":
    unittest.main()
