"""`doublep submit` on a real Slurm whose nodes die in the middle: nothing is lost, nothing twice.

Behind a label: DOUBLEP_SLURM=1, since it starts a cluster on loopback and waits for its timeouts.
"""

import collections
import csv
import glob
import io
import os
import re
import signal
import subprocess
import tempfile
import unittest

import cluster

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.abspath(os.environ.get("DOUBLEP_PROGRAM", os.path.join(ROOT, "build/cpu/experiments/doublep")))
SHARDS = 3
SWEEP = f"""traces: [{ROOT}/tests/data/needle-4k.h5]
replay: {{every_step: 2}}
policies:
  - dense
  - {{policy: streaming, window: [16, 64]}}
  - {{policy: double_p, p2: {{from: 0.3, to: 0.9, step: 0.04}}}}
  - {{policy: cluster_top_k, k: [8, 16, 32, 64]}}
"""


def why_not():
    if os.environ.get("DOUBLEP_SLURM") != "1":
        return "starts a Slurm on loopback: only with DOUBLEP_SLURM=1"
    return cluster.absent() or ("" if os.path.exists(PROGRAM) else f"DOUBLEP_PROGRAM: there is no {PROGRAM}")


@unittest.skipIf(why_not(), why_not())
class Slurm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="doublep-slurm-"))
        with open(f"{cls.folder}/sweep.yaml", "w", encoding="utf-8") as file:
            file.write(SWEEP)
        cls.whole = cls.export(cls.checked("run", "sweep.yaml", "-o", "whole.h5", file="whole.h5"))
        os.mkdir(f"{cls.folder}/cluster")
        cls.slurm = cls.enterClassContext(cluster.Cluster(f"{cls.folder}/cluster", SHARDS))

    @classmethod
    def doublep(cls, *words, environment=None):
        return subprocess.Popen(
            [PROGRAM, *words], cwd=cls.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    @classmethod
    def checked(cls, *words, file):
        done = cls.doublep(*words)
        out, err = done.communicate()
        if done.returncode != 0:
            raise AssertionError(f"{words}: {out}{err}")
        return file

    @classmethod
    def export(cls, result):
        done = subprocess.run([PROGRAM, "export", result], cwd=cls.folder, capture_output=True, text=True, check=True)
        return done.stdout

    def submit(self, *more):
        return self.doublep(
            "submit", "sweep.yaml", "-o", self.output, "--nodes", str(SHARDS), *more, environment=self.slurm.environment
        )

    def finished(self, process, seconds=240):
        self.addCleanup(process.kill)
        out, err = process.communicate(timeout=seconds)
        return process.returncode, out, err

    def setUp(self):
        self.output = f"{self._testMethodName}.h5"
        for node in self.slurm.nodes:
            self.slurm.kill_node(node)
            self.slurm.start_node(node)
        self.slurm.wait_for_nodes()

    def parts(self, shard):
        return glob.glob(f"{self.folder}/{self.output}.shards/{shard}-of-{SHARDS}.h5.parts/*.sha256")

    def running_shard(self):
        """A shard in the middle of its runs, and the node that it is on."""

        def found():
            for shard in range(1, SHARDS + 1):
                if len(self.parts(shard)) >= 2 and (node := self.slurm.node_of(shard)):
                    return shard, node
            return None

        return cluster.wait_until(found, 60, "a shard has two runs")

    def log(self, shard):
        with open(f"{self.folder}/{self.output}.shards/{shard}-of-{SHARDS}.log", encoding="utf-8") as file:
            return file.read()

    def check_result(self):
        """Row for row what one run wrote; says so in figures."""
        merged = self.export(self.output)

        def rows(text):
            table = csv.DictReader(io.StringIO(text))
            return collections.Counter((row["run"], row["layer"], row["head"], row["step"]) for row in table)

        want, have = rows(self.whole), rows(merged)
        lost, twice = (want - have).total(), sum(count - 1 for count in have.values())
        print(f"{self._testMethodName}: {want.total()} rows, {lost} lost, {twice} twice", flush=True)
        self.assertEqual((lost, twice), (0, 0))
        self.assertEqual(merged, self.whole)
        self.assertEqual(glob.glob(f"{self.folder}/{self.output}.shards/*.h5*"), [])

    def test_a_node_that_dies(self):
        waiting = self.submit("--wait", "--sbatch", "--time=10", "--sbatch", "--partition=all --comment='of a test'")
        shard, node = self.running_shard()
        done = len(self.parts(shard))
        self.slurm.kill_node(node)
        code, out, err = self.finished(waiting)
        self.assertEqual(code, 0, out + err + self.log(shard))
        # Slurm started the task again, elsewhere, and it kept what was finished.
        again = re.findall(r"\((\d+) were there already\)", self.log(shard))
        self.assertEqual(len(again), 1, self.log(shard))
        self.assertGreaterEqual(int(again[0]), done)
        self.check_result()

    def test_a_task_that_is_killed(self):
        first = self.submit("--wait", "--gpus", "--jobs", "1")
        shard, node = self.running_shard()
        self.assertIn("gres:gpu:1", self.slurm.call("squeue", "--noheader", "--format=%b"))
        cluster.kill(self.slurm.tasks_on(node))
        code, out, err = self.finished(first)
        self.assertEqual(code, 1, out + err)
        self.assertRegex(err, f"^doublep: shard {shard}/{SHARDS} came to nothing; see the log .*{shard}-of-{SHARDS}.log")
        self.assertFalse(os.path.exists(f"{self.folder}/{self.output}"))
        # The same command hands over that one alone.
        code, out, err = self.finished(self.submit("--wait"))
        self.assertEqual(code, 0, out + err)
        self.assertRegex(out, rf"job \d+ of Slurm: shard {shard}/{SHARDS}\n")
        self.check_result()
        code, out, err = self.finished(self.submit())
        self.assertEqual((code, "there already" in out), (0, True), out + err)

    def test_a_node_out_of_reach_whose_task_goes_on(self):
        code, out, err = self.finished(self.submit())
        self.assertEqual(code, 0, out + err)
        shard, node = self.running_shard()
        code, out, err = self.finished(self.submit())
        self.assertEqual(code, 0, out + err)
        self.assertNotIn("job ", out)  # what is queued or runs is not handed over again
        first = self.slurm.tasks_on(node)
        cluster.kill(first, signal.SIGSTOP)  # until there are two of it
        self.slurm.kill_daemon(node)
        cluster.wait_until(lambda: "another doublep run is writing it" in self.log(shard), 120, "Slurm starts it again")
        cluster.kill(first, signal.SIGCONT)
        for _ in range(4):
            code, out, err = self.finished(self.submit("--wait"))
            if code == 0:
                break
            self.assertEqual(code, 1, out + err)
        self.assertEqual(code, 0, out + err)
        self.check_result()

    def test_a_controller_that_is_away(self):
        waiting = self.submit("--wait")
        self.running_shard()
        self.slurm.stop_controller()
        self.assertNotEqual(self.finished(self.submit())[0], 0)  # but who waits goes on waiting
        self.slurm.start_controller()
        code, out, err = self.finished(waiting)
        self.assertEqual(code, 0, out + err)
        self.check_result()


if __name__ == "__main__":
    unittest.main()
