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


def script(name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(ROOT, "experiments", f"{name}.py"))
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


accuracy = script("accuracy")
by_layer = script("loss_by_layer")
from analysis import answers  # noqa: E402  accuracy.py puts the root on the path

CONFIG = """
name: tiny
models: [{name: tiny, path: model, dtype: float32}]
lengths: [1300]
tasks: [vt, niah_single_1]
questions: 2
seed: 3
answer_tokens: 6
held_out_tokens: 9
policies:
  - {name: full, policy: dense}
  - {name: window 16, policy: streaming, sink: 4, window: 16}
"""


class Table(unittest.TestCase):
    CONFIG = dict(models=[dict(name="m")], lengths=[100], tasks=["vt", "cwe"], held_out_tokens=5,
                  policies=[dict(name="p")])

    def rows(self):
        """vt: the reference solves 9 of 10, the policy 6; cwe: 5 and 10, which does not count."""
        for task, policy, good in (("vt", "reference", 9), ("vt", "p", 6), ("cwe", "reference", 5), ("cwe", "p", 10)):
            for i in range(10):
                yield dict(model="m", length=100, task=task, policy=policy, question=i, solved=i < good,
                           answer_tokens=i, kl=None if i == 0 else 0.5, same_top=0.25, bytes_share=0.125)
        for nll in (1.0, 2.0):
            yield dict(model="m", length=100, task="held_out", policy="p", question=int(nll), nll=nll,
                       answer_tokens=5, kl=nll / 4, same_top=0.75, bytes_share=0.5)

    def test_only_tasks_that_dense_solves_count(self):
        text = answers.table(self.CONFIG, list(self.rows()))
        self.assertIn("Counted (the reference solves 80% at least): vt.", text)
        self.assertIn("| p | 6 of 10 | 0.313 to 0.832 | 0.5000 | 0.5000 | 0.250 | 4.5 | 0.125 |", text)
        self.assertIn("| p | 8 | 4.482 | 0.3750 | 0.750 | 0.500 |", text)  # exp(1.5), two texts of four tokens
        self.assertIn("| reference | 9 of 10 |", text)
        self.assertIn("| cwe (not counted) | 5 of 10 | 10 of 10 |", text)

    def test_intervals_are_wilsons(self):
        for good, of, low, high in ((8, 10, 0.4902, 0.9433), (0, 10, 0, 0.2775), (10, 10, 0.7225, 1),
                                    (50, 100, 0.4038, 0.5962)):  # as published tables have them
            found = answers.interval(good, of)
            self.assertAlmostEqual(found[0], low, places=4)
            self.assertAlmostEqual(found[1], high, places=4)

    def test_nothing_measured_yet(self):
        self.assertEqual(answers.table(self.CONFIG, []), "No row yet.")


class Runs(unittest.TestCase):
    def setUp(self):
        try:
            import tokenizers
            import yaml  # noqa: F401
            global np, tiny
            import numpy as np
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

    def run_script(self, *more, script=accuracy):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = script.main([str(self.config), "--output", str(self.output), *more])
        return code, out.getvalue(), err.getvalue()

    def rows(self):
        return [json.loads(line) for line in self.output.read_text().splitlines()[1:]]

    def test_every_question_under_every_policy(self):
        code, out, err = self.run_script()
        self.assertEqual(code, 0, err)
        rows = {(r["task"], r["question"], r["policy"]): r for r in self.rows()}
        self.assertEqual(len(rows), 3 * 2 * 3)
        for (task, question, policy), row in rows.items():
            dense = rows[task, question, "reference"]
            if task == "held_out":
                self.assertEqual((row["prompt_tokens"] > 1000, row["answer_tokens"]), (True, 9))
                self.assertTrue(row["nll"] != dense["nll"] or policy != "window 16")
                self.assertAlmostEqual(row["nll"], dense["nll"], places=5 if policy == "full" else 0)
                self.assertEqual(row["kl"] > 1e-4, policy == "window 16")
                continue
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
        code, out, err = self.run_script("--model", "tinier")
        self.assertEqual((code, out, err), (2, "", f"accuracy.py: --model: {self.config} has no model 'tinier'\n"))

    def test_answers_that_end_elsewhere_do_not_join(self):
        self.run_script()
        first, *lines = self.output.read_text().splitlines()
        rows = [json.loads(line) | dict(ends=[7]) for line in lines]
        self.output.write_text("\n".join([first, *map(json.dumps, rows[:-1])]) + "\n")
        before = self.output.read_bytes()
        code, out, err = self.run_script()
        self.assertEqual((code, out, self.output.read_bytes()), (2, "", before))
        self.assertIn("those in the file at [7]; ask the model that answered there, or name another --output", err)

    def test_shards_are_the_whole(self):
        self.run_script()
        whole = sorted(self.rows(), key=str)
        parts = [self.folder / f"part{i}.jsonl" for i in (1, 2)]
        for i, self.output in enumerate(parts, 1):
            code, _, err = self.run_script("--shard", f"{i}/2")
            self.assertEqual(code, 0, err)
        rows = []
        for self.output in parts:
            rows += self.rows()
        self.assertEqual(sorted(rows, key=str), whole)
        self.output = parts[0]
        code, both, err = self.run_script("--table-only", "--also", str(parts[1]))
        self.output = self.folder / "rows.jsonl"
        self.assertEqual((code, both), (0, self.run_script("--table-only")[1]), err)
        code, _, err = self.run_script("--table-only", "--also", str(parts[1]))
        self.assertEqual((code, err.count("\n")), (2, 1))
        self.assertIn("answered in two of the files", err)
        with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
            accuracy.main([str(self.config), "--output", str(self.output), "--shard", "3/2"])

    def test_shards_know_what_counts_from_all_of_the_reference(self):
        self.config.write_text(CONFIG)
        self.output = self.folder / "alone.jsonl"
        code, _, err = self.run_script("--ask", "counted", "--shard", "1/2")
        self.assertEqual((code, err.splitlines()[-1].startswith("accuracy.py: tiny, ")), (2, True), err)
        self.assertIn("run every shard with --ask reference first", err)
        base = [self.folder / f"base{i}.jsonl" for i in (1, 2)]
        for i, self.output in enumerate(base, 1):
            code, _, err = self.run_script("--ask", "reference", "--shard", f"{i}/2")
            self.assertEqual(code, 0, err)
            self.assertEqual({row["policy"] for row in self.rows()}, {"reference"})
        new = [self.folder / f"new{i}.jsonl" for i in (1, 2)]
        for i, self.output in enumerate(new, 1):
            code, _, err = self.run_script("--ask", "counted", "--shard", f"{i}/2", "--also", *map(str, base))
            self.assertEqual(code, 0, err)
            self.assertNotIn("reference", {row["policy"] for row in self.rows()})
        code, sharded, err = self.run_script("--table-only", "--also", *map(str, base), str(new[0]))
        self.assertEqual(code, 0, err)
        self.output = self.folder / "whole.jsonl"
        code, whole, err = self.run_script("--ask", "counted")
        self.assertEqual((code, sharded), (0, whole), err)

    def test_policies_are_asked_what_the_reference_solves(self):
        code, out, err = self.run_script("--ask", "counted")  # a random model solves nothing
        self.assertEqual(code, 0, err)
        asked = {(row["task"], row["policy"]) for row in self.rows()}
        self.assertEqual(asked, {("vt", "reference"), ("niah_single_1", "reference")} |
                         {("held_out", policy) for policy in ("reference", "full", "window 16")})
        self.assertIn("| vt (not counted) | 0 of 2 | - | - |", out)
        self.run_script()
        self.assertEqual(len(self.rows()), 3 * 2 * 3)

    def test_a_chat_model_is_asked_in_turns(self):
        self.config.write_text(CONFIG.replace("dtype: float32", "dtype: float32, chat: true"))
        code, _, err = self.run_script()
        self.assertEqual((code, err.count("\n")), (2, 1))
        self.assertIn("comes without a chat template", err)
        template = "{% for m in messages %}<user>{{ m['content'] }}</user>{% endfor %}<model>"
        path = self.folder / "model/tokenizer_config.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(known | {"chat_template": template}))
        code, _, err = self.run_script()
        self.assertEqual(code, 0, err)
        chat = {(row["task"], row["question"]): row["prompt_tokens"] for row in self.rows()}
        self.assertLessEqual(max(chat.values()), 1300)
        loaded = accuracy.Loaded(dict(name="tiny", path=str(self.folder / "model"), dtype="float32", chat=True))
        text = loaded.tokenizer.decode(loaded.asked(accuracy.tasks.make("vt", 3, 900, len)))
        self.assertTrue(text.replace(" ", "").startswith("<user>Memorizeandtrack"))
        self.assertIn("</user><model>Answer:", text.replace(" ", ""))

    def test_where_a_policy_loses(self):
        self.output = self.folder / "layers.jsonl"
        arguments = ["--policy", "full", "window 16", "--task", "vt", "held_out", "--length", "1300"]
        code, _, err = self.run_script(*arguments, script=by_layer)
        self.assertEqual(code, 0, err)
        rows = {(r["task"], r["policy"]): r for r in self.rows()}
        self.assertEqual(len(rows), 4)
        for (task, policy), row in rows.items():
            self.assertEqual(row["decoded"], dict(vt=5, held_out=8)[task])
            self.assertEqual(list(row["alone"]), ["0", "1", "2"])
            errors = np.array([row["errors"][layer] for layer in ("0", "1", "2")])
            self.assertEqual(errors.shape, (3, tiny.COMMON["num_attention_heads"]))
            if policy == "full":
                self.assertLess(errors.max(), 1e-4)
                self.assertLess(max(map(abs, row["alone"].values())), 1e-5)
            else:  # all of 16 recent tokens of 1300, random values: little is left of the mean
                self.assertGreater(errors.min(), 0.1)
                self.assertGreater(min(row["alone"].values()), 1e-7)
                self.assertGreater(row["kl"], 0.5 * max(row["alone"].values()))
        before = self.output.read_bytes()
        self.assertEqual(self.run_script(*arguments, script=by_layer)[0::2], (0, ""))
        self.assertEqual(self.output.read_bytes(), before)
        code, _, err = self.run_script(*arguments, "--alone-in", "1", script=by_layer)  # other rows than the file's
        self.assertEqual((code, err.count("\n")), (2, 1))
        self.assertIn("written by another configuration", err)
        code, _, err = self.run_script("--policy", "windows", "--length", "1300", script=by_layer)
        self.assertEqual((code, err), (2, "loss_by_layer.py: --policy: no 'windows'; expected one of full, window 16\n"))

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
