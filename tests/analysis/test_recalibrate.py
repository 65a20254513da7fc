"""A run of the GPU visit becomes the simulator's: what is written, and what is refused."""

import contextlib
import io
import json
import os
import tempfile
import unittest

from analysis import recalibrate
from analysis.errors import ResultError

HARDWARE = recalibrate.HARDWARE


def description(name):
    with open(os.path.join(HARDWARE, name + ".yaml"), encoding="utf-8") as file:
        return file.read()


class Machine(unittest.TestCase):
    def test_a_device_is_found_by_its_name(self):
        for device, name in (("NVIDIA H100 PCIe, sm_90, 114 SMs", "h100-pcie"), ("NVIDIA H200, sm_90", "h200")):
            self.assertEqual(recalibrate.machine_of("f", device), name)
        self.assertEqual(recalibrate.machine_of("f", "NVIDIA H100 80GB HBM3, sm_90", "h100-sxm"), "h100-sxm")

    def test_a_device_of_none_or_of_two_machines_asks_for_a_name(self):
        for device, says in (("NVIDIA T4", "none of them"), ("NVIDIA H100", "h100-pcie or h100-sxm")):
            with self.assertRaises(ResultError) as refused:
                recalibrate.machine_of("bench.json", device)
            self.assertIn("bench.json: key 'device'", str(refused.exception))
            self.assertIn(says, str(refused.exception))
            self.assertIn("--machine", str(refused.exception))
        with self.assertRaises(ResultError) as refused:
            recalibrate.machine_of("bench.json", "NVIDIA H200", "h300")
        self.assertIn("not 'h300'", str(refused.exception))

    def test_the_measured_ceiling_stands_once_with_its_source(self):
        for name in ("h100-sxm", "h200"):  # one has a ceiling already, the other has none
            text = recalibrate.with_ceiling(description(name), 4.0216e12)
            self.assertEqual(text.count("achieved_bandwidth_gbs: {value: 4022, source: measured}"), 1)
            self.assertEqual(text.count("achieved_bandwidth_gbs"), 1)
            self.assertEqual(text.count("\n  measured: "), 1)
            self.assertEqual(recalibrate.with_ceiling(text, 4.0216e12), text)


class Adopt(unittest.TestCase):
    def test_only_the_two_files_of_a_plan_are_others(self):
        with open(os.path.join(recalibrate.ROOT, "configs/simulate.yaml"), encoding="utf-8") as file:
            before = file.read()
        run = os.path.join(recalibrate.ROOT, "cuda/results/some-day")
        steps = os.path.join(run, "e2e-llama-3.1-8b.json")
        after = recalibrate.adopted("f", before, run, steps, "h100-sxm")
        changed = [line for line in after.splitlines() if line not in before.splitlines()]
        self.assertEqual(changed, ["  points: ../cuda/results/some-day/bench.json",
                                   "  end_to_end: ../cuda/results/some-day/e2e-llama-3.1-8b.json"])

        with self.assertRaises(ResultError) as refused:  # of another machine than the configuration's
            recalibrate.adopted("simulate.yaml", before, run, steps, "h200")
        self.assertIn("simulate.yaml: key 'calibration.hardware': expected h200", str(refused.exception))

    def test_a_run_without_whole_steps_is_refused(self):
        with tempfile.TemporaryDirectory() as run:
            point = {"label": "dense", "policy": "dense", "search": "none", "context": 1024, "batch": 1,
                     "step_us": 9.0, "error_mean": 0.0}
            bench = {"device": "NVIDIA H200", "query_heads": 8, "kv_heads": 2, "head_dim": 64,
                     "dtype": "bf16", "read_ceiling": 4e12, "points": [point]}
            with open(os.path.join(run, "bench.json"), "w", encoding="utf-8") as file:
                json.dump(bench, file)
            said = io.StringIO()
            with contextlib.redirect_stderr(said):
                self.assertEqual(recalibrate.main([run]), 2)
            self.assertIn("expected e2e.json", said.getvalue())


if __name__ == "__main__":
    unittest.main()
