"""experiments/accuracy.py: rows of random models, resumed, and tables of rows that are known."""

import contextlib
import importlib.util
import io
import json
import os
import sys
import tempfile
import unittest
from pathlib import Path

from support import ROOT

sys.path[:0] = [os.path.join(ROOT, "data")]
spec = importlib.util.spec_from_file_location("accuracy", os.path.join(ROOT, "experiments", "accuracy.py"))
accuracy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(accuracy)

CONFIG = """
name: tiny
models: [{name: tiny, path: model, dtype: float32}]
lengths: [1300]
tasks: [vt, niah_single_1]
questions: 2
seed: 3
answer_tokens: 6
policies:
  - {name: full, policy: dense}
  - {name: window 16, policy: streaming, sink: 4, window: 16}
"""


class Table(unittest.TestCase):
    CONFIG = dict(models=[dict(name="m")], lengths=[100], tasks=["vt", "cwe"], policies=[dict(name="p")])

    def rows(self):
        """vt: the reference solves 9 of 10, the policy 6; cwe: 5 and 10, which does not count."""
        for task, policy, good in (("vt", "reference", 9), ("vt", "p", 6), ("cwe", "reference", 5), ("cwe", "p", 10)):
            for i in range(10):
                yield dict(model="m", length=100, task=task, policy=policy, question=i, solved=i < good,
                           answer_tokens=i, kl=None if i == 0 else 0.5, same_top=0.25, bytes_share=0.125)

    def test_only_tasks_that_dense_solves_count(self):
        text = accuracy.table(self.CONFIG, list(self.rows()))
        self.assertIn("Counted (the reference solves 80% at least): vt.", text)
        self.assertIn("| p | 6 of 10 | 0.313 to 0.832 | 0.5000 | 0.250 | 4.5 | 0.125 |", text)
        self.assertIn("| reference | 9 of 10 |", text)
        self.assertIn("| cwe (not counted) | 5 of 10 | 10 of 10 |", text)

    def test_intervals_are_wilsons(self):
        for good, of, low, high in ((8, 10, 0.4902, 0.9433), (0, 10, 0, 0.2775), (10, 10, 0.7225, 1),
                                    (50, 100, 0.4038, 0.5962)):  # as published tables have them
            found = accuracy.interval(good, of)
            self.assertAlmostEqual(found[0], low, places=4)
            self.assertAlmostEqual(found[1], high, places=4)

    def test_nothing_measured_yet(self):
        self.assertIn("no task", accuracy.table(self.CONFIG, []))


class Runs(unittest.TestCase):
    def setUp(self):
        try:
            import tokenizers
            import yaml  # noqa: F401
            from test_hf import tiny
        except (ImportError, unittest.SkipTest) as error:
            self.skipTest(f"experiments/accuracy.py is not run: {error}")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        tiny.save(self.folder / "model")
        letters = {chr(c): i for i, c in enumerate([10, *range(32, 127)])}
        tokenizers.Tokenizer(tokenizers.models.BPE(letters, [])).save(str(self.folder / "model/tokenizer.json"))
        self.config, self.output = self.folder / "accuracy.yaml", self.folder / "rows.jsonl"
        self.config.write_text(CONFIG)

    def run_script(self, *more):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = accuracy.main([str(self.config), "--output", str(self.output), *more])
        return code, out.getvalue(), err.getvalue()

    def rows(self):
        return [json.loads(line) for line in self.output.read_text().splitlines()[1:]]

    def test_every_question_under_every_policy(self):
        code, out, err = self.run_script()
        self.assertEqual(code, 0, err)
        rows = {(r["task"], r["question"], r["policy"]): r for r in self.rows()}
        self.assertEqual(len(rows), 2 * 2 * 3)
        for (task, question, policy), row in rows.items():
            dense = rows[task, question, "reference"]
            self.assertLessEqual(row["prompt_tokens"], 1300)
            self.assertGreater(row["prompt_tokens"], 1000)
            self.assertEqual(row["answer_tokens"], 6)  # nothing ends an answer here
            if policy == "full":
                self.assertEqual((row["answer"], row["bytes_share"]), (dense["answer"], 1))
                self.assertLess(abs(row["kl"]), 1e-5)
                self.assertEqual(row["same_top"], 1)
            if policy == "window 16":  # the prompt gives the first of six tokens: five are decoded for the others
                visible = [row["prompt_tokens"] + i for i in range(1, 6)]
                self.assertAlmostEqual(row["bytes_share"], 20 * 5 / sum(visible), places=9)
                self.assertGreater(row["kl"], 1e-4)
        self.assertIn("| task | reference | full | window 16 |", out)
        self.assertEqual(self.run_script("--table-only")[1], out)

    def test_a_killed_run_goes_on(self):
        self.run_script()
        whole = self.output.read_bytes()
        lines = whole.splitlines(keepends=True)
        self.output.write_bytes(b"".join(lines[:6]) + lines[6][:40])
        code, _, err = self.run_script()
        self.assertEqual(code, 0, err)
        self.assertEqual(self.output.read_bytes(), whole)
        self.assertEqual(self.run_script()[2], "")  # nothing was left to do
        self.assertEqual(self.output.read_bytes(), whole)

    def test_refusals(self):
        self.run_script()
        for text, words in ((CONFIG.replace("seed: 3", "seed: 4"), "written by another configuration"),
                            (CONFIG.replace("vt,", "vtt,"), "no task 'vtt'; expected one of niah_single_1"),
                            (CONFIG.replace("name: tiny\n", ""), "expected exactly the keys answer_tokens"),
                            (CONFIG.replace("name: full", "name: reference"), "'reference' is taken")):
            self.config.write_text(text)
            code, out, err = self.run_script()
            self.assertEqual((code, out, err.count("\n")), (2, "", 1))
            self.assertIn(words, err)
        self.config.write_text(CONFIG.replace("window: 16", "windw: 16"))
        self.output = self.folder / "other.jsonl"
        code, _, err = self.run_script()
        self.assertEqual(code, 2)
        self.assertIn("windw", err)


if __name__ == "__main__":
    unittest.main()
