"""Every refusal of the recorder: one line that says what and what to do, and nothing written."""

import collections
import json
import os
import signal
import unittest
from unittest import mock

import h5py

try:
    import tiny
    import torch
    import test_recording
except ImportError as error:
    raise unittest.SkipTest(f"data/record_hf.py is not tested: {error}")


class Refusals(test_recording.Case):
    def refused(self, *words, model=None, kind="--token-ids", prompt=None, options=()):
        prompt = prompt or tiny.ids_file(self.folder, 61)[0]
        code, out, err = test_recording.run(
            model or self.model, kind, prompt, "--out", self.out, "--prefill-queries", 16,
            "--steps", 6, "--dtype", "float32", *options)
        line = err.splitlines()[-1]
        self.assertEqual((code, out), (2, ""), err)
        self.assertTrue(line.startswith("record_hf.py: "), err)
        for word in words:
            self.assertIn(word, line)
        self.assertEqual([f for f in os.listdir(self.folder) if f.startswith("t.h5")], [])

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_models_that_are_not_there(self):
        self.refused("no such folder or file", model="./nowhere")
        self.refused("no such folder or file", model="nowhere.gguf")
        self.refused("neither a folder, nor a .gguf file, nor a model in the local cache",
                     model="nobody/nothing")
        os.mkdir(self.model)
        self.refused("no config.json and 0 .gguf files")
        self.refused("no .gguf", model=self.write("weights.bin", ""))
        self.refused(model=self.write("broken.gguf", "GGUF"))

    def test_models_of_a_kind_that_is_not_known(self):
        self.write("model/config.json", json.dumps({"model_type": "nosuch"}))
        self.refused("does not know this model", "nosuch")
        self.write("model/config.json", json.dumps({"model_type": "t5"}))
        self.refused("T5Config is no causal language model")
        self.write("model/config.json", "{")
        self.refused("its configuration cannot be read")

    def test_weights_that_are_missing(self):
        tiny.save(self.model)
        os.remove(os.path.join(self.model, "model.safetensors"))
        self.refused("cannot be loaded")

    def test_prompts_that_do_not_fit(self):
        tiny.save(self.model)
        short, long = (tiny.ids_file(self.folder, n)[0] for n in (9, 251))
        self.refused("too short, 9 tokens", "--prefill-queries", prompt=short)
        self.refused("too short, 9 tokens", "--prompt-tokens", prompt=short,
                     options=("--prompt-tokens", 10))
        self.refused("too long, 251 tokens and 6 steps", "context of 256", "--prompt-tokens 250",
                     prompt=long)
        self.refused("prompt is empty", prompt=self.write("empty.txt", " \n"))

    def test_prompts_that_cannot_be_read(self):
        tiny.save(self.model)
        self.refused("no.txt: cannot be read", prompt="no.txt")
        self.refused("expected token ids", prompt=self.write("words.txt", "one two"))
        self.refused(f"token 1 is {tiny.VOCABULARY}", f"0 .. {tiny.VOCABULARY - 1}",
                     prompt=self.write("ids.txt", f"3, {tiny.VOCABULARY}"))
        self.refused("comes without a tokenizer", "--token-ids", kind="--text")

    def test_conversations(self):
        tiny.save(self.model)
        tokenizer = mock.Mock(chat_template=None)
        with mock.patch("recorder.session.load_tokenizer", return_value=tokenizer):
            self.refused("no chat template", kind="--chat")
            tokenizer.chat_template = "a template"
            self.refused('expected a list of {"role"', kind="--chat",
                         prompt=self.write("c.json", '[{"role": "user"}]'))

    def test_layers_that_are_not_there(self):
        tiny.save(self.model)
        self.refused("--layers 0,3", "0 .. 2", options=("--layers", "0,3"))
        self.refused("--layers two", "expected all, or a list", options=("--layers", "two"))
        self.refused("--layers 2-1", options=("--layers", "2-1"))

    def test_layers_without_softmax_attention(self):
        tiny.save(self.model)
        with mock.patch("recorder.attention.Recording.take"):
            self.refused("layer 0: its attention cannot be recorded")

    def test_a_disk_that_is_too_small_is_told_before_anything_is_loaded(self):
        tiny.save(self.model)
        usage = collections.namedtuple("usage", "total used free")(10**6, 10**6 - 1000, 1000)
        with mock.patch("shutil.disk_usage", return_value=usage), \
                mock.patch("recorder.session.load_model") as load:
            self.refused("the disk has 1000 B free", "--layers")
        load.assert_not_called()

    def test_folders_that_are_not_there(self):
        tiny.save(self.model)
        self.refused("there is no folder", options=("--out", os.path.join(self.folder, "x", "t")))

    @unittest.skipIf(torch.cuda.is_available(), "there is a GPU")
    def test_a_gpu_that_is_not_there(self):
        tiny.save(self.model)
        self.refused("--device cuda", "sees no GPU", options=("--device", "cuda"))

    def test_values_that_are_not_finite(self):
        def spoil(model):
            model.model.layers[1].self_attn.v_proj.weight[0, 0] = torch.inf

        tiny.save(self.model, change=spoil)
        self.refused("layers/1/values: NaN or infinity at 0", "--dtype")

    def test_an_answer_that_ends_at_once(self):
        tiny.save(self.model)
        first = int(self.record()[1].split()[0])
        os.remove(self.out)
        tiny.save(self.model, eos_token_id=first)
        self.refused("ended its answer before the first step", "--ignore-end")

    def test_interrupted_by_either_signal_nothing_is_left(self):
        tiny.save(self.model)
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number), mock.patch(
                    "recorder.generate.choose", side_effect=lambda *_: os.kill(os.getpid(),
                                                                              number)):
                with open(self.out, "w") as earlier:
                    earlier.write("earlier")
                code, out, err = test_recording.run(
                    self.model, "--token-ids", tiny.ids_file(self.folder, 61)[0], "--out",
                    self.out, "--prefill-queries", 16)
                self.assertEqual((code, out), (130, ""))
                self.assertIn("interrupted; nothing was written", err)
                with open(self.out) as earlier:
                    self.assertEqual(earlier.read(), "earlier")
                self.assertEqual(sorted(f for f in os.listdir(self.folder) if "t.h5" in f),
                                 ["t.h5"])

    def test_a_dry_run_writes_nothing_and_its_size_is_right(self):
        tiny.save(self.model, "gemma3")
        code, out, err = test_recording.run(self.model, "--dry-run", "--prompt-tokens", 200,
                                            "--out", self.out, "--dtype", "float32")
        self.assertEqual((code, err), (0, ""))
        self.assertFalse(os.path.exists(self.out))
        self.assertIn("264 tokens, 3 layers recorded; computed: file ", out)
        weights = sum(p.numel() for p in tiny.make("gemma3", "eager").parameters()) * 4
        self.assertIn(f"(weights {weights / 1024:.1f} KiB in float32", out)
        # Keys and values of two windows of 16 tokens and one full layer, 2 heads of 24.
        self.assertIn(f"KV cache {(16 + 264 + 16) * 2 * 48 * 4 / 1024:.1f} KiB", out)
        from recorder import estimate, model
        source = model.find(self.model)
        needs = estimate.estimate(model.load_config(source), source, [0, 2], 200, 6, 16, 13,
                                  torch.float32, "auto")
        self.record("--layers", "0,2", prompt=200)
        with h5py.File(self.out) as file:
            stored = sum(data.id.get_storage_size() for i in (0, 2)
                         for data in file[f"layers/{i}"].values())
        self.assertAlmostEqual(needs.file / stored, 1, delta=0.25)  # pieces of 206 of 256 tokens


if __name__ == "__main__":
    unittest.main()
