"""Decoder: what it computes, held against dense attention in NumPy and against replay's rows."""

import unittest

import numpy as np
from support import NEEDLE, Layer, dense

import doublep

STEPS = 6


class AgainstNumpy(unittest.TestCase):
    def check(self, decoder, k, v, q, scale=None, places=1e-5):
        step = decoder.step(q)
        output, log_sum = dense(k, v, q, scale)
        np.testing.assert_allclose(step.output, output, atol=places)
        np.testing.assert_allclose(step.log_sum_exp, log_sum, atol=places)
        self.assertEqual(step.output.dtype, np.float32)
        return step

    def test_dense(self):
        layer = Layer()
        decoder = doublep.Decoder("dense")
        decoder.prefill(layer.k, layer.v)
        step = self.check(decoder, layer.k, layer.v, layer.q)
        np.testing.assert_array_equal(step.exact_tokens, [300] * 8)
        np.testing.assert_array_equal(step.approximated_clusters, [0] * 8)
        self.assertEqual(step.visible_tokens, 300)
        # bf16 keys and values of a KV head, once for its group of four.
        np.testing.assert_array_equal(step.bytes[:, doublep.STAGES.index("attend")],
                                      [300 * 2 * 32 * 2 / 4] * 8)
        self.assertIsNone(step.mass_audit)
        self.assertIsNone(step.selections)

    def test_policies_in_their_dense_limit(self):
        layer = Layer()
        for policy, limit in (("double_p", dict(p1=1, p2=1.0)), ("quest", dict(budget=1.0)),
                              ("oracle_top_p", dict(p=1.0)), ("streaming", dict(window=300)),
                              ("cluster_kv", dict(budget=np.float32(1)))):
            with self.subTest(policy=policy):
                decoder = doublep.Decoder(policy, **limit)
                decoder.prefill(layer.k, layer.v)
                self.check(decoder, layer.k, layer.v, layer.q)

    def test_scale_and_width_of_values(self):
        layer = Layer(value_dim=24)
        decoder = doublep.Decoder("dense", softmax_scale=0.31, kv_dtype="fp32")
        decoder.prefill(layer.k, layer.v)
        step = self.check(decoder, layer.k, layer.v, layer.q, scale=0.31)
        self.assertEqual(step.output.shape, (8, 24))
        self.assertEqual(step.bytes.sum(), 2 * 300 * (32 + 24) * 4)

    def test_tokens_that_join_are_attended_wherever_they_lie(self):
        layer = Layer()
        for copied in (False, True):
            with self.subTest(copied=copied):
                decoder = doublep.Decoder("dense")
                decoder.prefill(layer.k[:, :200], layer.v[:, :200])
                for end in (201, 202, 230, 300):
                    k, v = (a[:, decoder.length:end] for a in (layer.k, layer.v))
                    decoder.append(k.copy() if copied else k, v.copy() if copied else v)
                    self.assertEqual(decoder.length, end)
                    self.assertEqual(decoder.reads_in_place, not copied)
                    self.check(decoder, layer.k[:, :end], layer.v[:, :end], layer.q)

    def test_one_that_joins_in_place_after_one_that_was_copied(self):
        layer = Layer()
        decoder = doublep.Decoder("dense", capacity=210)
        decoder.prefill(layer.k[:, :200], layer.v[:, :200])
        decoder.append(layer.k[:, 200:205].copy(), layer.v[:, 200:205])
        decoder.append(layer.k[:, 205:], layer.v[:, 205:])
        self.check(decoder, layer.k, layer.v, layer.q)

    def test_half_precision_strides_and_a_batch_of_one(self):
        layer = Layer()
        decoder = doublep.Decoder("dense")
        half = [a.astype(np.float16) for a in (layer.k, layer.v, layer.q)]
        decoder.prefill(half[0][None], half[1][None])
        self.check(decoder, *half[:2], half[2][None][0])
        self.check(decoder, *half[:2], half[2])
        by_token = [np.ascontiguousarray(a.transpose(1, 0, 2)).transpose(1, 0, 2)
                    for a in (layer.k, layer.v)]
        decoder.prefill(*by_token)
        self.assertFalse(decoder.reads_in_place)
        self.check(decoder, layer.k, layer.v, layer.q)
        wide = np.repeat(layer.q, 2, axis=1)
        self.check(decoder, layer.k, layer.v, wide[:, ::2])

    def test_what_is_counted(self):
        layer = Layer()
        decoder = doublep.Decoder("double_p", p1=0.9, p2=0.4)
        decoder.prefill(layer.k, layer.v)
        counted, audited = decoder.step(layer.q), decoder.step(layer.q, audit=True)
        self.assertIsNone(counted.selections)
        self.assertEqual([len(s["tokens"]) for s in audited.selections], counted.exact_tokens.tolist())
        self.assertEqual([len(s["clusters"]) for s in audited.selections], counted.approximated_clusters.tolist())
        self.assertGreater(counted.approximated_clusters.sum(), 0)
        bare = decoder.step(layer.q, counts=False)
        np.testing.assert_array_equal(bare.output, counted.output)
        for what in ("bytes", "flops", "exact_tokens", "approximated_clusters", "selections"):
            self.assertIsNone(getattr(bare, what))
        with self.assertRaisesRegex(doublep.InputError, "out is another thing than a tensor of float32"):
            decoder.step(layer.q, out=np.zeros((8, 32), np.float32))

    def test_a_second_prefill_starts_another_sequence(self):
        layer, other = Layer(), Layer(tokens=150, kv_heads=4, seed=1)
        decoder = doublep.Decoder("dense")
        decoder.prefill(layer.k, layer.v)
        decoder.step(layer.q)
        decoder.prefill(other.k, other.v)
        self.check(decoder, other.k, other.v, other.q)


class AgainstReplay(unittest.TestCase):
    """The same trace through Decoder, token by token, and through replay."""

    @classmethod
    def setUpClass(cls):
        cls.trace = doublep.Trace(NEEDLE)
        cls.layer = cls.trace.layer(4)

    def steps(self, copied, policy, **parameters):
        positions, layer = self.trace.positions, self.layer
        decoder = doublep.Decoder(policy, softmax_scale=self.trace.softmax_scale, layer=4,
                                  **parameters)
        decoder.prefill(layer.keys[:, :positions[0] + 1], layer.values[:, :positions[0] + 1])
        for t in range(STEPS):
            if t:
                new = [a[:, positions[t - 1] + 1:positions[t] + 1]
                       for a in (layer.keys, layer.values)]
                decoder.append(*(a.copy() for a in new) if copied else new)
            yield decoder.step(layer.queries[t], audit=True)

    def test_rows(self):
        for policy, parameters in (("dense", {}), ("double_p", dict(variant="best")),
                                   ("double_p", dict(p1=0.9, p2=0.6, audit=64, recluster_every=2)),
                                   ("quest", dict(budget=512)), ("vattention", dict(seed=3)),
                                   ("magicpig", dict(kv_dtype="fp32"))):
            rows = doublep.replay(self.trace, policy, layers=[4], max_steps=STEPS,
                                  **parameters).rows.reshape(STEPS, -1)
            for copied in (False, True):
                with self.subTest(policy=policy, copied=copied, **parameters):
                    for t, step in enumerate(self.steps(copied, policy, **parameters)):
                        self.check_step(step, rows[t], t)

    def check_step(self, step, rows, t):
        for name in ("exact_tokens", "approximated_clusters"):
            np.testing.assert_array_equal(getattr(step, name), rows[name])
        for i, stage in enumerate(doublep.STAGES):
            np.testing.assert_array_equal(step.bytes[:, i], rows["bytes_" + stage])
            np.testing.assert_array_equal(step.flops[:, i], rows["flops_" + stage])
        seen = self.trace.positions[t] + 1
        output, _ = dense(self.layer.keys[:, :seen], self.layer.values[:, :seen],
                          self.layer.queries[t], self.trace.softmax_scale)
        error = (np.linalg.norm(step.output - output, axis=1) / np.linalg.norm(output, axis=1))
        np.testing.assert_allclose(error, rows["output_error"], atol=2e-6, rtol=1e-4)
        if step.mass_audit is None:
            self.assertTrue(np.isnan(rows["audited_mass"]).all())
        else:
            np.testing.assert_array_equal(step.mass_audit.T, [
                rows[name] for name in ("audited_mass", "audited_low", "audited_high")])
        for selection, exact, terms in zip(step.selections, rows["exact_tokens"],
                                           rows["approximated_clusters"]):
            self.assertEqual(len(selection["tokens"]), exact)
            self.assertEqual(len(selection["clusters"]), terms)
            self.assertEqual(len(selection["log_masses"]), terms)
            self.assertTrue((np.diff(selection["tokens"]) > 0).all())

    def test_the_prompts_queries_reach_the_index(self):
        layer = Layer(tokens=400)
        asked = np.random.default_rng(5).standard_normal((64, 8, 32)).astype(np.float32) * 3
        asked[:, :, :4] *= 10
        plain, told = (doublep.Decoder("double_p", metric="query", metric_source=source)
                       for source in ("steps", "prompt"))
        plain.prefill(layer.k, layer.v)
        told.prefill(layer.k, layer.v, prefill_queries=asked)
        self.assertFalse(np.array_equal(plain.step(layer.q).output, told.step(layer.q).output))
        again = doublep.Decoder("double_p", metric="query")
        again.prefill(layer.k, layer.v, asked.astype(np.float64).astype(np.float32)[:, ::1])
        np.testing.assert_array_equal(again.step(layer.q).output, told.step(layer.q).output)

    def test_what_it_says_of_itself(self):
        decoder = doublep.Decoder("double_p", variant="best", share=np.float64(0.1),
                                  window=np.int64(32))
        values = decoder.parameters
        self.assertEqual((values["share"], values["window"], values["stop"]), (0.1, 32, "share"))
        self.assertEqual((decoder.policy, decoder.backend, decoder.length), ("double_p", "cpu", 0))
        layer = Layer()
        decoder.prefill(layer.k, layer.v, layer.q[None])
        cost = decoder.index_cost
        self.assertGreater(cost["memory_bytes"], 0)
        self.assertGreater(cost["build_flops"], cost["build_bytes"])


if __name__ == "__main__":
    unittest.main()
