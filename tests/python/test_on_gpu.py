"""Tensors that lie on a GPU through Decoder and doublep.hf; skipped where there is no GPU, no PyTorch, or a package
without CUDA."""

import unittest

import numpy as np
from support import Layer, dense

import doublep

try:
    import torch
    if not torch.cuda.is_available():
        raise ImportError("PyTorch sees no GPU")
    doublep.Decoder("dense", backend="cuda")
except (ImportError, doublep.InputError) as error:
    raise unittest.SkipTest(f"tensors on a GPU are not tested: {error}")

# Outputs of a few tenths, summed in another order and with weights of two parts of 16 bits.
CLOSE = dict(rtol=0, atol=5e-3)
POLICIES = (("dense", {}), ("quest", dict(budget=96)), ("twilight", {}), ("retroinfer", dict(retrieval=0.2)),
            ("double_p", dict(p1=0.9, p2=0.5)), ("double_p", dict(variant="best", head_kinds="one", share=0.2)))


def bf16(*arrays):
    return [torch.from_numpy(a).to("cuda", torch.bfloat16) for a in arrays]


def rounded(tensor):
    return tensor.float().cpu().numpy()


class Tensors(unittest.TestCase):
    def setUp(self):
        self.layer = Layer(tokens=700, kv_heads=2, heads=12, head_dim=64)
        self.k, self.v, self.q = bf16(self.layer.k, self.layer.v, self.layer.q)
        draw = np.random.default_rng(4)
        self.prompt, = bf16(draw.standard_normal((40, 12, 64), dtype=np.float32))

    def decoder(self, policy, **parameters):
        return doublep.Decoder(policy, backend="cuda", **parameters)

    def test_dense(self):
        decoder = self.decoder("dense")
        decoder.prefill(self.k[:, :600], self.v[:, :600])
        self.assertTrue(decoder.on_gpu)
        for end in (601, 640, 700):
            decoder.append(self.k[:, decoder.length:end], self.v[:, decoder.length:end])
            out = torch.full((12, 64), 7.0, device="cuda")
            step = decoder.step(self.q, out=out)
            self.assertIs(step.output, out)
            expected, log_sum = dense(rounded(self.k[:, :end]), rounded(self.v[:, :end]), rounded(self.q))
            np.testing.assert_allclose(out.cpu().numpy(), expected, **CLOSE)
            np.testing.assert_allclose(step.log_sum_exp, log_sum, atol=1e-3)
            np.testing.assert_array_equal(decoder.step(self.q).output, out.cpu().numpy())
            self.assertEqual(step.visible_tokens, end)

    def test_as_from_the_host(self):
        host = [rounded(t) for t in (self.k, self.v, self.q, self.prompt)]
        for policy, parameters in POLICIES:
            with self.subTest(policy=policy, **parameters):
                here, there = self.decoder(policy, **parameters), self.decoder(policy, **parameters)
                here.prefill(host[0][:, :650], host[1][:, :650], host[3])
                there.prefill(self.k[:, :650], self.v[:, :650], self.prompt)
                for t in range(650, 655):
                    here.append(host[0][:, t:t + 1], host[1][:, t:t + 1])
                    there.append(self.k[:, t:t + 1], self.v[:, t:t + 1])
                    a, b = here.step(host[2]), there.step(self.q)
                    np.testing.assert_allclose(a.output, b.output, **CLOSE)
                    np.testing.assert_array_equal(a.exact_tokens, b.exact_tokens)
                    np.testing.assert_array_equal(a.approximated_clusters, b.approximated_clusters)
                    np.testing.assert_array_equal(a.bytes, b.bytes)
                self.assertEqual(here.index_cost, there.index_cost)

    def test_any_strides(self):
        expected, _ = dense(rounded(self.k), rounded(self.v), rounded(self.q))
        by_token = [t.transpose(0, 1).contiguous().transpose(0, 1) for t in (self.k, self.v)]
        decoder = self.decoder("dense")
        decoder.prefill(*(t[:, :-1] for t in by_token))
        decoder.append(*(t[:, -1:] for t in by_token))
        wide = self.q.repeat(1, 2)[:, :64]
        np.testing.assert_allclose(decoder.step(wide).output, expected, **CLOSE)
        with self.assertRaisesRegex(doublep.InputError, "rows that lie packed"):
            decoder.step(self.q.t().contiguous().t())

    def test_counts(self):
        decoder = self.decoder("double_p")
        decoder.prefill(self.k, self.v)
        counted, audited, bare = decoder.step(self.q), decoder.step(self.q, audit=True), decoder.step(self.q, counts=False)
        self.assertEqual([len(s["tokens"]) for s in audited.selections], counted.exact_tokens.tolist())
        self.assertEqual([len(s["clusters"]) for s in audited.selections], counted.approximated_clusters.tolist())
        np.testing.assert_array_equal(counted.bytes, audited.bytes)
        self.assertIsNone(counted.selections)
        for what in ("bytes", "flops", "exact_tokens", "approximated_clusters", "selections"):
            self.assertIsNone(getattr(bare, what))

    def test_refusals(self):
        decoder = self.decoder("dense", capacity=701)
        for call, words in (
                (lambda: doublep.Decoder("dense").prefill(self.k, self.v), "k lies on a GPU, and the decoder runs on"),
                (lambda: decoder.prefill(self.k, self.layer.v), "v lies in the host's memory"),
                (lambda: decoder.prefill(self.k.half(), self.v.half()), "holds fp16; the decoder's kv_dtype is bf16"),
                (lambda: decoder.prefill(self.k * float("nan"), self.v), "keys hold NaN"),
                (lambda: self.decoder("dense", capacity=9).prefill(self.k, self.v), "more than the capacity of 9")):
            with self.assertRaisesRegex(doublep.InputError, words):
                call()
        decoder.prefill(self.k, self.v)
        for call, words in (
                (lambda: decoder.append(self.layer.k[:, :1], self.layer.v[:, :1]), "k lies in the host's memory"),
                (lambda: decoder.append(self.k[:, :2], self.v[:, :2]), "702 tokens are more than the capacity of 701"),
                (lambda: decoder.step(self.layer.q), "q lies in the host's memory"),
                (lambda: decoder.step(self.q, out=torch.zeros(11, 64, device="cuda")), "out has the shape"),
                (lambda: decoder.step(self.q, out=np.zeros((12, 64), np.float32)), "another thing than a tensor"),
                (lambda: decoder.step(self.q * float("nan")), "query head 0 are not finite")):
            with self.assertRaisesRegex(doublep.InputError, words):
                call()
        expected, _ = dense(rounded(self.k), rounded(self.v), rounded(self.q))
        np.testing.assert_allclose(decoder.step(self.q).output, expected, **CLOSE)


class InAModel(unittest.TestCase):
    def test_policies(self):
        try:
            from test_hf import forced, prompt, tiny
            from transformers import AutoModelForCausalLM, LlamaConfig
        except (ImportError, unittest.SkipTest) as error:
            self.skipTest(f"doublep.hf is not tested: {error}")
        import doublep.hf
        ids = prompt(150).cuda()

        def model(attention):
            torch.manual_seed(5)
            config = LlamaConfig(**tiny.COMMON, head_dim=64)
            made = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
            with torch.no_grad():
                for name, weight in made.named_parameters():
                    if weight.dim() == 2:
                        weight.normal_(std=0.15)
            return made.eval().to("cuda", torch.bfloat16)

        def logits(attention, **options):
            decoding = doublep.hf.register(**options) if options else None
            with torch.inference_mode():
                return forced(model(attention), ids, 120), decoding

        reference, _ = logits("sdpa")
        full, decoding = logits("doublep", policy="dense", backend="cuda")
        np.testing.assert_allclose(full, reference, rtol=0, atol=0.15)
        self.assertEqual((decoding.bytes_share, decoding.density), (1, 1))
        sparse = dict(policy="double_p", variant="best", head_kinds="one", share=0.2, tokens_per_cluster=16, sink=2, window=6)
        there, on_gpu = logits("doublep", backend="cuda", **sparse)
        here, on_cpu = logits("doublep", backend="cpu", **sparse)
        self.assertEqual(on_gpu.counts["steps"].tolist(), [30, 30, 30])
        self.assertLess(on_gpu.density, 0.6)  # of 150 tokens the index alone reads as much as dense attention
        self.assertAlmostEqual(on_gpu.bytes_share, on_cpu.bytes_share, delta=0.02)
        # Clusters are made by other kernels: alike, not the same; both are far nearer to each other than to dense.
        self.assertLess(np.abs(there - here).mean(), 0.5 * np.abs(there - reference).mean() + 0.05)


if __name__ == "__main__":
    unittest.main()
