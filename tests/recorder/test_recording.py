"""Recordings of random models against what the same models attend by transformers' own attention.
Skipped where PyTorch or transformers is not installed."""

import contextlib
import io
import os
import sys
import tempfile
import unittest
from importlib.util import find_spec
from unittest import mock

import h5py
import numpy as np

try:
    import tiny
    import torch
    from transformers import AttentionMaskInterface, GenerationConfig
except ImportError as error:
    raise unittest.SkipTest(f"data/record_hf.py is not tested: {error}")

import record_hf
from recorder import attention
from recorder.encoding import RecordError, to_float32
from recorder.trace_file import TraceFile

SHARED = os.path.join(os.path.dirname(__file__), "..", "..", "..", "shared", "model")


def run(*arguments):
    """(exit code, stdout, stderr) of record_hf.py, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.object(sys, "argv", ["record_hf.py", *map(str, arguments)]), \
            contextlib.redirect_stdout(out), mock.patch("sys.stderr", err):
        code = record_hf.main()
    return code, out.getvalue(), err.getvalue()


def naive(keys, values, queries, position, scale, window, softcap):
    """One head's [value_dim] in float64."""
    first = max(0, position + 1 - window) if window else 0
    logits = keys[first:position + 1] @ queries * scale
    if softcap:
        logits = softcap * np.tanh(logits / softcap)
    weights = np.exp(logits - logits.max())
    return weights @ values[first:position + 1] / weights.sum()


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.out = os.path.join(self.folder, "t.h5")
        self.model = os.path.join(self.folder, "model")

    def record(self, *options, prompt=61, steps=6, prefill=16, model=None):
        path, ids = tiny.ids_file(self.folder, prompt)
        code, out, err = run(model or self.model, "--token-ids", path, "--out", self.out,
                             "--steps", steps, "--prefill-queries", prefill, "--chunk", 13,
                             "--dtype", "float32", *options)
        self.assertEqual(code, 0, err)
        return ids, out, err

    def read(self):
        """(attributes, {layer: (attributes, {dataset: float32 array})}, positions)."""
        with h5py.File(self.out) as file:
            layers = {int(name): (dict(group.attrs), {k: to_float32(d[:])
                                                      for k, d in group.items()})
                      for name, group in file["layers"].items()}
            return dict(file.attrs), layers, file["positions"][:], file["token_ids"][:].tolist()


class Attention(Case):
    def test_logits_in_chunks_and_whole_are_those_of_transformers(self):
        _, ids = tiny.ids_file(self.folder, 61)
        for kind in tiny.CONFIGS:
            with self.subTest(kind), torch.inference_mode():
                # PyTorch's kernels have no soft cap: there transformers' own is eager.
                theirs = tiny.make(kind, "eager" if kind in tiny.SOFTCAPS else "sdpa")
                expected = theirs(input_ids=torch.tensor([ids])).logits[0]
                ours = tiny.make(kind, attention.NAME)
                whole = ours(input_ids=torch.tensor([ids])).logits[0]
                torch.testing.assert_close(whole, expected, rtol=1e-4, atol=1e-4)
                cache, chunks = None, []
                for first in range(0, 61, 13):
                    got = ours(input_ids=torch.tensor([ids[first:first + 13]]), use_cache=True,
                               **{self.cache_name(ours): cache})
                    cache = got[self.cache_name(ours)]
                    chunks.append(got.logits[0])
                torch.testing.assert_close(torch.cat(chunks), expected, rtol=1e-4, atol=1e-4)

    def cache_name(self, model):
        import inspect
        known = inspect.signature(model.forward).parameters
        return "cache" if "cache" in known else "past_key_values"

    def test_without_its_mask_function_nothing_is_recorded(self):
        tiny.save(self.model)
        path, _ = tiny.ids_file(self.folder, 61)
        masks = AttentionMaskInterface._global_mapping
        with mock.patch.dict(masks):
            del masks[attention.NAME]
            code, _, err = run(self.model, "--token-ids", path, "--out", self.out, "--chunk", 13,
                               "--prefill-queries", 16)
        self.assertEqual(code, 2)
        self.assertIn("layer 0: no mask for 13 queries over 26 keys", err)
        self.assertFalse(os.path.exists(self.out))

    def test_masks_and_attention_that_the_format_cannot_hold_are_refused(self):
        causal = torch.ones(4, 10, dtype=torch.bool).tril(6)[None, None]
        attention.check_mask(3, 4, 10, 6, causal, None)
        attention.check_mask(3, 4, 10, 6, causal.triu(4), 3)
        attention.check_mask(3, 4, 6, 50, causal[..., 4:].triu(0), 3)  # a window's cache
        blocks = causal.clone()
        blocks[..., 3, :8] = False  # blocks of eight, as chunked attention has
        for mask, keys, window in ((blocks, 10, None), (causal, 10, 3), (causal[..., 5:], 5, None)):
            with self.assertRaises(RecordError):
                attention.check_mask(3, 4, keys, 6, mask, window)
        layer = mock.Mock(layer_idx=7)
        q = torch.zeros(1, 2, 3, 4)
        for options in ({"s_aux": torch.zeros(2)}, {"position_bias": torch.zeros(1)}):
            with attention.Recording(None, [7]), self.assertRaisesRegex(RecordError, "layer 7"):
                attention.attend(layer, q, q, q, None, **options)


class Traces(Case):
    def test_a_trace_holds_what_the_model_attends(self):
        for kind in tiny.CONFIGS:
            with self.subTest(kind):
                tiny.save(self.model, kind)
                ids, out, _ = self.record("--store", "float32")
                root, layers, positions, tokens = self.read()
                self.assertEqual(tokens[:61], ids)
                self.assertEqual(out.split(), [str(t) for t in tokens[61:]])
                self.assertEqual(root["answer"].decode().split(), out.split())
                np.testing.assert_array_equal(positions, np.arange(61, 67))
                self.assertEqual(root["num_tokens"], 67)
                self.assertEqual(root.get("value_dim"), 12 if kind == "deepseek" else None)
                seen = tiny.attended(tiny.make(kind, "eager"), tokens)
                self.assertEqual(sorted(layers), [0, 1, 2])
                for layer, (attributes, stored) in layers.items():
                    query, key, value, output = seen[layer]
                    close = dict(rtol=1e-4, atol=1e-4)
                    np.testing.assert_allclose(stored["keys"], key, **close)
                    np.testing.assert_allclose(stored["values"], value, **close)
                    np.testing.assert_allclose(stored["queries"],
                                               query[:, 61:].swapaxes(0, 1), **close)
                    np.testing.assert_allclose(stored["prefill_queries"],
                                               query[:, 45:61].swapaxes(0, 1), **close)
                    np.testing.assert_allclose(stored["outputs"], output[:, 61:].swapaxes(0, 1),
                                               rtol=1e-3, atol=1e-3)
                    self.assertEqual(attributes.get("sliding_window"),
                                     tiny.WINDOWS.get(kind, [None] * 3)[layer])
                    self.assertEqual(attributes.get("logit_softcap"), tiny.SOFTCAPS.get(kind))

    def test_outputs_are_dense_attention_in_float64_over_what_is_stored(self):
        for kind in ("qwen2", "gemma2"):
            with self.subTest(kind), mock.patch("recorder.dense.LOGITS_AT_A_TIME", 1):  # 64 keys
                tiny.save(self.model, kind)
                self.record(prompt=161)
                root, layers, positions, _ = self.read()
                group = root["num_query_heads"] // root["num_kv_heads"]
                for attributes, stored in layers.values():
                    for t, position in enumerate(positions):
                        for head in range(root["num_query_heads"]):
                            expected = naive(stored["keys"][head // group].astype(np.float64),
                                             stored["values"][head // group].astype(np.float64),
                                             stored["queries"][t, head].astype(np.float64),
                                             position, root["softmax_scale"],
                                             attributes.get("sliding_window"),
                                             attributes.get("logit_softcap"))
                            np.testing.assert_allclose(stored["outputs"][t, head], expected,
                                                       rtol=1e-6, atol=1e-7)

    def test_keys_beyond_float16_become_bfloat16_and_the_rest_stays(self):
        def widen(model):
            model.model.layers[1].self_attn.k_proj.bias[5] = 1e5

        tiny.save(self.model, "qwen2", widen)
        _, _, err = self.record()
        self.assertIn("layers/1/keys: ", err)
        self.assertIn("stored as bfloat16", err)
        with h5py.File(self.out) as file:
            kinds = {(int(i), name): data.dtype for i, group in file["layers"].items()
                     for name, data in group.items() if name != "outputs"}
            self.assertEqual({k for k, dtype in kinds.items() if dtype != np.float16},
                             {(1, "keys")})
            self.assertEqual(file["layers/1/keys"].attrs["encoding"], "bfloat16")
            keys = to_float32(file["layers/1/keys"][:])
            self.assertTrue(np.isfinite(file["layers/1/outputs"][:]).all())
        expected = tiny.make("qwen2", "eager")
        with torch.no_grad():
            widen(expected)
        seen = tiny.attended(expected, self.read()[3])
        np.testing.assert_allclose(keys, seen[1][1], rtol=2**-7, atol=0.01)

    @unittest.skipUnless(find_spec("gguf") and find_spec("accelerate"), "no gguf or accelerate")
    def test_a_gguf_file_records_like_its_folder(self):
        tiny.save(self.model, "qwen2")
        self.record("--store", "float32")
        folder = self.read()
        os.mkdir(os.path.join(self.folder, "one"))
        file = tiny.save_gguf(os.path.join(self.folder, "one", "model.gguf"))
        for model in (file, os.path.dirname(file)):  # named, or the only one of its folder
            self.record("--store", "float32", model=model)
            packed = self.read()
            self.assertEqual(packed[3], folder[3])
            for layer, (_, stored) in packed[1].items():
                for name, values in stored.items():
                    np.testing.assert_allclose(values, folder[1][layer][1][name], rtol=1e-4,
                                               atol=1e-5)

    def test_some_layers_and_no_prefill_queries(self):
        tiny.save(self.model)
        self.record("--layers", "0,2", prefill=0)
        _, layers, _, _ = self.read()
        self.assertEqual({i: set(stored) for i, (_, stored) in layers.items()},
                         {i: {"keys", "values", "queries", "outputs"} for i in (0, 2)})


class Answers(Case):
    def test_greedy_is_what_transformers_generates(self):
        tiny.save(self.model)
        ids, out, _ = self.record(steps=12)
        model = tiny.make("llama", "sdpa")
        settings = GenerationConfig(max_new_tokens=12, do_sample=False)
        expected = model.generate(torch.tensor([ids]), generation_config=settings)[0, len(ids):]
        self.assertEqual(out.split(), [str(t) for t in expected.tolist()])

    def test_sampling_repeats_with_its_seed(self):
        tiny.save(self.model)
        sampled = ("--temperature", 2, "--top-p", 0.9, "--seed")
        first, again, other = (self.record(*sampled, seed, steps=12)[1] for seed in (4, 4, 5))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)
        self.assertEqual(self.read()[0]["decoding"].decode(),
                         "sampled, temperature 2, top_p 0.9, seed 5")
        nearly_greedy = self.record("--temperature", 2, "--top-p", 1e-6, "--seed", 7, steps=12)[1]
        self.assertEqual(nearly_greedy, self.record(steps=12)[1])

    def test_the_trace_ends_with_the_answer(self):
        tiny.save(self.model)
        answer = [int(t) for t in self.record()[1].split()]
        last = next(i for i in range(1, 6) if answer[i] not in answer[:i])
        tiny.save(self.model, eos_token_id=answer[last])
        _, out, err = self.record()
        self.assertEqual(out.split(), [str(t) for t in answer[:last]])
        self.assertIn(f"ended after {last} of 6 steps", err)
        root, layers, positions, _ = self.read()
        self.assertEqual(root["num_tokens"], 61 + last)
        self.assertEqual(len(positions), last)
        self.assertEqual(layers[0][1]["outputs"].shape[0], last)
        out = self.record("--ignore-end")[1]
        self.assertEqual(len(out.split()), 6)
        self.assertNotIn(str(answer[last]), out.split())

    def test_a_conversation_goes_under_the_chat_template(self):
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast
        words = {"[": 0, "user": 1, "]": 2, "system": 3, "assistant": 4, "why": 5, "not": 6,
                 "brief": 7, "unknown": 8}
        backend = Tokenizer(models.WordLevel(words, unk_token="unknown"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
        tokenizer.chat_template = (
            "{% for m in messages %}[ {{ m.role }} ] {{ m.content }} {% endfor %}"
            "{% if add_generation_prompt %}[ assistant ]{% endif %}")
        tiny.save(self.model)
        tokenizer.save_pretrained(self.model)
        for name, text, expected in (
                ("ask.txt", "why not", [0, 1, 2, 5, 6, 0, 4, 2]),
                ("ask.json", '[{"role": "system", "content": "brief"}, '
                             '{"role": "user", "content": "why"}]',
                 [0, 3, 2, 7, 0, 1, 2, 5, 0, 4, 2])):
            path = os.path.join(self.folder, name)
            with open(path, "w") as file:
                file.write(text)
            code, _, err = run(self.model, "--chat", path, "--out", self.out, "--steps", 2,
                               "--prefill-queries", 4)
            self.assertEqual(code, 0, err)
            self.assertEqual(self.read()[3][:-2], expected)

    @unittest.skipUnless(os.path.isdir(SHARED), "no ../shared/model beside this checkout")
    def test_a_trained_model_with_its_tokenizer(self):
        text = os.path.join(self.folder, "text.txt")
        with open(os.path.join(os.path.dirname(__file__), "..", "..", "README.md")) as file:
            words = file.read()
        with open(text, "w") as file:
            file.write(words)
        code, out, err = run(SHARED, "--text", text, "--prompt-tokens", 200, "--steps", 4, "--out",
                             self.out, "--layers", "1,6", "--prefill-queries", 64, "--chunk", 90)
        self.assertEqual(code, 0, err)
        root, layers, _, tokens = self.read()
        self.assertEqual((root["num_query_heads"], root["num_kv_heads"], root["head_dim"]),
                         (8, 2, 128))
        from recorder.model import find, load_tokenizer
        tokenizer = load_tokenizer(find(SHARED))
        self.assertEqual(tokenizer.decode(tokens[200:]), out[:-1])
        self.assertEqual(tokens[:200], tokenizer(words)["input_ids"][:200])
        self.assertEqual(sorted(layers), [1, 6])


if __name__ == "__main__":
    unittest.main()
