"""Policies inside models of transformers, against the same models under transformers' own attention.
Random models of a few thousand weights; skipped where PyTorch or transformers is not installed."""

import os
import sys
import tempfile
import unittest

import numpy as np
from support import ROOT

import doublep

sys.path.append(os.path.join(ROOT, "tests", "recorder"))
try:
    import tiny
    import torch
    from transformers import DynamicCache, StaticCache

    import doublep.hf
    from doublep.closed_loop import forward
except ImportError as error:
    raise unittest.SkipTest(f"doublep.hf is not tested: {error}")

# The two compute the same attention in float32, in another order: logits of a few units differ by less.
CLOSE = dict(rtol=1e-4, atol=1e-4)
# Of bfloat16 models, whose layers round what the attention gave: a few of the 8 bits.
CLOSE_BF16 = dict(rtol=0, atol=0.1)


def prompt(count, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, tiny.VOCABULARY, (1, count), generator=generator)


@torch.inference_mode()
def forced(model, ids, first, chunk=None, cache=None, mask=None):
    """The logits [batch, tokens - first + 1, vocabulary] that follow the `first` tokens of ids and every
    further one, which come one at a time; the first ones `chunk` at a time."""
    cache, found = cache if cache is not None else DynamicCache(), []
    cuts = [*range(0, first, chunk or first), *range(first, ids.shape[1] + 1)]
    for begin, end in zip(cuts, cuts[1:]):
        given = {} if mask is None else dict(attention_mask=mask[:, :end])
        if mask is not None:
            given["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, begin:end]
        logits = forward(model, cache, ids[:, begin:end], **given)
        if end >= first:
            found.append(logits)
    return torch.stack(found, 1).cpu().numpy()


class Case(unittest.TestCase):
    def models(self, kind="llama", policy="dense", dtype=None, **options):
        """(the model under transformers' sdpa, the same under the policy, its Decoding)."""
        decoding = doublep.hf.register(policy, **options)
        ours, theirs = tiny.make(kind, "doublep"), tiny.make(kind, "sdpa")
        return theirs.to(dtype), ours.to(dtype), decoding


class Dense(Case):
    """The policy that attends everything changes nothing."""

    def test_logits_are_those_of_sdpa(self):
        ids = prompt(90)
        for kind in ("llama", "qwen2", "gemma3", "mistral", "deepseek"):
            theirs, ours, decoding = self.models(kind)
            np.testing.assert_allclose(forced(ours, ids, 70), forced(theirs, ids, 70), **CLOSE, err_msg=kind)
            self.assertEqual(decoding.counts["steps"].tolist(), [20, 20, 20])
            self.assertEqual(decoding.bytes_share, 1)
            self.assertEqual(decoding.density, 1)

    def test_of_bfloat16_too(self):
        ids = prompt(90)
        theirs, ours, decoding = self.models(dtype=torch.bfloat16)
        np.testing.assert_allclose(forced(ours, ids, 70), forced(theirs, ids, 70), **CLOSE_BF16)
        c = ours.config
        row = 2 * c.num_key_value_heads * (c.hidden_size // c.num_attention_heads) * 2
        self.assertEqual(decoding.counts["dense_bytes"].tolist(), 3 * [row * sum(range(71, 91))])

    def test_answers_are(self):
        for options in ({}, {"num_beams": 3}):  # a search over beams changes rows behind our back
            theirs, ours, _ = self.models()
            ids = prompt(50)
            found, expected = (m.generate(ids, max_new_tokens=20, do_sample=False, pad_token_id=0,
                                          **options).tolist() for m in (ours, theirs))
            self.assertEqual(found, expected)

    def test_a_prompt_in_parts_and_a_cache_of_fixed_size(self):
        ids = prompt(90)
        theirs, ours, _ = self.models()
        expected = forced(theirs, ids, 70)
        np.testing.assert_allclose(forced(ours, ids, 70, chunk=16), expected, **CLOSE)
        cache = StaticCache(config=ours.config, max_cache_len=128)
        np.testing.assert_allclose(forced(ours, ids, 70, cache=cache), expected, **CLOSE)

    def test_a_prompt_of_one_token(self):
        ids = prompt(6)
        theirs, ours, decoding = self.models()
        np.testing.assert_allclose(forced(ours, ids, 1), forced(theirs, ids, 1), **CLOSE)
        self.assertEqual(decoding.counts["steps"].tolist(), [5, 5, 5])

    def test_a_cache_that_another_attention_made(self):
        ids = prompt(40)
        theirs, ours, _ = self.models()
        expected = forced(theirs, ids, 30)[:, -1]
        cache = DynamicCache()
        forced(theirs, ids[:, :39], 30, cache=cache)
        with torch.inference_mode():
            found = forward(ours, cache, ids[:, 39:])
        np.testing.assert_allclose(found, expected, **CLOSE)

    def test_a_cache_that_was_cut(self):
        ids, other = prompt(60), prompt(60, seed=4)
        other[:, :45] = ids[:, :45]
        theirs, ours, _ = self.models()
        cache = DynamicCache()
        forced(ours, ids, 40, cache=cache)
        cache.crop(-15)
        with torch.inference_mode():
            found = [forward(ours, cache, other[:, i:i + 1]) for i in range(45, 60)]
        np.testing.assert_allclose(torch.stack(found, 1), forced(theirs, other, 40)[:, 6:], **CLOSE)


class Sparse(Case):
    def test_what_is_read_is_counted(self):
        ids, window = prompt(90), dict(sink=4, window=16)
        theirs, ours, decoding = self.models(policy="streaming", **window)
        c = ours.config
        self.assertGreater(np.abs(forced(ours, ids, 70) - forced(theirs, ids, 70))[:, 1:].max(), 0.05)
        row = 2 * c.num_key_value_heads * (c.hidden_size // c.num_attention_heads) * 4  # a token's bytes
        visible = sum(range(71, 91))
        counts = decoding.counts
        self.assertEqual(counts["layer"].tolist(), [0, 1, 2])
        self.assertEqual(counts["exact_tokens"].tolist(), 3 * [20 * 20 * c.num_attention_heads])
        self.assertEqual(counts["visible_tokens"].tolist(), 3 * [visible * c.num_attention_heads])
        self.assertEqual(counts["bytes"].sum(1).tolist(), 3 * [20 * 20 * row])
        self.assertEqual(counts["dense_bytes"].tolist(), 3 * [visible * row])
        self.assertAlmostEqual(decoding.bytes_share, 20 * 20 / visible)
        self.assertAlmostEqual(decoding.density, 20 * 20 / visible)
        decoding.reset()
        self.assertEqual(len(decoding.counts), 0)

    def test_it_is_what_a_decoder_gives(self):
        """The first layer, whose cache no policy has touched, by hand."""
        parameters = dict(sink=2, window=4, tokens_per_cluster=4, share=0.1, variant="best")
        theirs, ours, decoding = self.models(policy="double_p", **parameters)
        ids = prompt(90)
        seen, spied = {}, decoding._attend

        def spy(module, query, key, value, *rest, **options):
            output, weights = spied(module, query, key, value, *rest, **options)
            if module.layer_idx == 0:
                seen[key.shape[2]] = (query[0], key[0], value[0], output[0])
            return output, weights

        doublep.hf.AttentionInterface.register("doublep", spy)
        forced(ours, ids, 70)
        decoder = doublep.Decoder("double_p", kv_dtype="fp32", softmax_scale=8**-0.5, **parameters)
        queries, keys, values, _ = seen[70]
        decoder.prefill(keys, values, queries.transpose(0, 1))
        read = 0
        for length in range(71, 91):
            query, key, value, output = seen[length]
            decoder.append(key[:, -1:], value[:, -1:])
            step = decoder.step(query[:, 0])
            np.testing.assert_array_equal(output[0], step.output)
            read += step.bytes.sum(0)
        np.testing.assert_array_equal(decoding.counts["bytes"][0], read)
        self.assertEqual(decoding.counts["build_bytes"][0], decoder.index_cost["build_bytes"])
        self.assertLess(decoding.density, 1)

    def test_rows_padded_on_the_left_are_as_they_are_alone(self):
        for policy, parameters in (("dense", {}), ("double_p", dict(variant="best", tokens_per_cluster=4,
                                                                    sink=2, window=4))):
            _, ours, decoding = self.models(policy=policy, **parameters)
            one, two = prompt(80), prompt(61, seed=5)
            alone = [forced(ours, one, 70), forced(ours, two, 51)]
            counted = decoding.counts
            decoding.reset()
            padded = torch.cat([torch.zeros(1, 19, dtype=torch.long), two], 1)
            mask = torch.ones(2, 80, dtype=torch.long)
            mask[1, :19] = 0
            together = forced(ours, torch.cat([one, padded]), 70, mask=mask)
            for i in range(2):
                np.testing.assert_allclose(together[i], alone[i][0], **CLOSE)
            for name in ("steps", "visible_tokens", "dense_bytes", "bytes"):
                np.testing.assert_allclose(decoding.counts[name], counted[name], rtol=0.02)

    def test_first_layers_stay_dense(self):
        ids = prompt(90)
        theirs, ours, decoding = self.models(policy="streaming", sink=1, window=4, dense_layers=2)
        found = forced(ours, ids, 70)
        counts = decoding.counts
        self.assertEqual(counts["dense"].tolist(), [True, True, False])
        self.assertEqual(counts["bytes"].sum(1).tolist()[:2], counts["dense_bytes"].tolist()[:2])
        self.assertEqual(counts["exact_tokens"][2], 20 * 5 * 6)
        self.assertGreater(np.abs(found - forced(theirs, ids, 70))[:, 1:].max(), 0.01)
        theirs, ours, decoding = self.models(policy="streaming", sink=1, window=4, dense_layers=3)
        np.testing.assert_array_equal(forced(ours, ids, 70), forced(theirs, ids, 70))
        self.assertEqual(decoding.bytes_share, 1)

    def test_layers_that_are_named_stay_dense(self):
        _, ours, decoding = self.models(policy="streaming", sink=1, window=4, dense_layers={0, 2})
        forced(ours, prompt(90), 70)
        self.assertEqual(decoding.counts["dense"].tolist(), [True, False, True])

    def test_layers_may_come_in_any_form(self):
        for layers in (np.int64(2), (layer for layer in (0, 1)), [1, 0]):
            _, ours, decoding = self.models(policy="streaming", sink=1, window=4, dense_layers=layers)
            forced(ours, prompt(30), 20)
            self.assertEqual(decoding.counts["dense"].tolist(), [True, True, False])

    def test_errors_of_every_head(self):
        ids = prompt(90)
        theirs, ours, decoding = self.models(policy="streaming", sink=1, window=4, errors=True, dense_layers={1})
        changed = forced(ours, ids, 70)
        errors = decoding.errors
        self.assertEqual({layer: found.shape for layer, found in errors.items()},
                         {0: (20, ours.config.num_attention_heads), 2: (20, ours.config.num_attention_heads)})
        self.assertGreater(errors[0].min(), 0.01)
        _, ours, _ = self.models(policy="streaming", sink=1, window=4, dense_layers={1})
        np.testing.assert_array_equal(forced(ours, ids, 70), changed)  # looking changes nothing
        _, ours, decoding = self.models(policy="dense", errors=True)
        forced(ours, ids, 70)
        self.assertLess(max(found.max() for found in decoding.errors.values()), 1e-5)
        decoding.reset()
        self.assertEqual(decoding.errors, {})

    def test_layers_with_a_window_stay_dense(self):
        _, ours, decoding = self.models("gemma3", "streaming", sink=1, window=4)
        forced(ours, prompt(90), 70)
        self.assertEqual(decoding.counts["dense"].tolist(), [True, False, True])
        self.assertLessEqual(decoding.counts["visible_tokens"][0], 20 * 6 * 17)  # its window of 16

    def test_parameters_by_layer(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("tuned:\n  - {policy: quest, layers: {1: {budget: 16}}}\n"
                       "  - {policy: streaming, layers: {0: {sink: 0, window: 8}, 2: {sink: 0, window: "
                       "16}}}\n")
            file.flush()
            _, ours, decoding = self.models(policy="streaming", tuned=file.name, sink=0, window=4)
            forced(ours, prompt(90), 70)
            self.assertEqual((decoding.counts["exact_tokens"] / 6 / 20).tolist(), [8, 4, 16])
            with self.assertRaisesRegex(doublep.InputError, "holds 0 choices for double_p; expected one"):
                doublep.hf.register("double_p", tuned=file.name)

    def test_one_set_of_parameters_is_for_every_layer(self):
        """Also for those that the trace did not hold it was chosen on: `run` takes it so, too."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("tuned: [{policy: streaming, layers: {1: {sink: 0, window: 8}}}]\n")
            file.flush()
            _, ours, decoding = self.models(policy="streaming", tuned=file.name, dense_layers=[2])
            forced(ours, prompt(90), 70)
            self.assertEqual((decoding.counts["exact_tokens"] / 6 / 20).tolist(), [8, 8, 80.5])
            with self.assertRaisesRegex(doublep.InputError, f"{file.name} holds one set of parameters for every layer, "
                                                            "and sink is given beside it; leave one of them out"):
                doublep.hf.register("streaming", tuned=file.name, sink=4)

    def test_a_second_sequence_starts_anew(self):
        """Also where it is as long as the last one has become, and ends in the same tokens."""
        _, ours, decoding = self.models(policy="streaming", sink=16, window=8)
        one, two = prompt(71), prompt(90, seed=8)
        one[:, 69:] = two[:, 69:71]
        expected = forced(ours, two, 71)
        decoding.reset()
        forced(ours, one, 70)
        np.testing.assert_array_equal(forced(ours, two, 71), expected)

    def test_queries_of_all_parts_of_a_prompt_reach_the_index(self):
        _, ours, _ = self.models(policy="double_p", metric="query", tokens_per_cluster=4, sink=2, window=4,
                                 p2=0.3)
        ids = prompt(90)
        np.testing.assert_allclose(forced(ours, ids, 70, chunk=7), forced(ours, ids, 70), **CLOSE)


class Refusals(Case):
    def refused(self, words, *arguments, **options):
        with self.assertRaisesRegex(doublep.InputError, words):
            doublep.hf.register(*arguments, **options)

    def test_what_register_is_given(self):
        self.refused("'nothing'", "nothing")
        self.refused("windw", "streaming", windw=3)
        self.refused("dense_layers is -1, expected a number, or layers, from 0 on", dense_layers=-1)
        self.refused("dense_layers is \\{-2\\}, expected a number, or layers, from 0 on", dense_layers={-2})
        self.refused("'sdpa' is an attention of transformers; choose another name", name="sdpa")
        self.refused("fp12", kv_dtype="fp12")
        self.refused("no_such.yaml", tuned="no_such.yaml")

    def test_no_parameter_of_a_policy_is_called_as_an_argument(self):
        import inspect
        taken = set(inspect.signature(doublep.hf.register).parameters)
        for name, policy in doublep.policies().items():
            self.assertFalse(taken & set(policy["parameters"]), name)

    def test_models_that_attend_otherwise(self):
        doublep.hf.register("dense")
        ours = tiny.make("gemma2", "doublep")
        with self.assertRaisesRegex(doublep.InputError, "layer 0: attention with soft-capped logits"):
            forced(ours, prompt(9), 5)

    def test_padding_on_the_right(self):
        _, ours, _ = self.models()
        ids, mask = prompt(20), torch.ones(1, 20, dtype=torch.long)
        mask[:, 8:10] = 0
        with self.assertRaisesRegex(doublep.InputError, "layer 0: row 0 sees .* with gaps; expected"):
            forced(ours, ids, 10, mask=mask)

    def test_two_names_are_two_policies(self):
        narrow = doublep.hf.register("streaming", name="doublep_narrow", sink=0, window=2)
        _, ours, wide = self.models(policy="streaming", sink=0, window=8)
        forced(ours, prompt(20), 15)
        ours.set_attn_implementation("doublep_narrow")
        forced(ours, prompt(20), 15)
        for decoding, window in ((narrow, 2), (wide, 8)):
            self.assertEqual((decoding.counts["exact_tokens"] / 6 / 5).tolist(), 3 * [window])


if __name__ == "__main__":
    unittest.main()
