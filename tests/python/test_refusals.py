"""What is wrong is an InputError of one line, as the program prints it, and the process goes on."""

import os
import subprocess
import sys
import tempfile
import unittest

import numpy as np
from support import NEEDLE, Layer

import doublep


class Refusals(unittest.TestCase):
    def refused(self, call, *words):
        with self.assertRaises(doublep.InputError) as caught:
            call()
        line = str(caught.exception)
        self.assertNotIn("\n", line)
        for word in words:
            self.assertIn(word, line)
        return line

    def program_says(self, *arguments):
        done = subprocess.run([sys.executable, "-m", "doublep", *arguments], capture_output=True,
                              text=True)
        self.assertEqual(done.returncode, 2, done.stderr)
        return done.stderr.rstrip("\n").removeprefix("doublep: ")

    def test_it_is_a_value_error_of_the_package(self):
        self.assertTrue(issubclass(doublep.InputError, ValueError))
        self.assertEqual(f"{doublep.InputError.__module__}.{doublep.InputError.__qualname__}",
                         "doublep.InputError")

    def test_the_same_text_as_the_program(self):
        with tempfile.TemporaryDirectory() as folder:
            damaged = os.path.join(folder, "damaged\n.h5")
            with open(NEEDLE, "rb") as whole, open(damaged, "wb") as out:
                out.write(whole.read(100000))
            for path in ("/no/such/trace.h5", folder, damaged, "/" + "x" * 5000):
                line = self.refused(lambda: doublep.Trace(path))
                self.assertEqual(line, self.program_says("validate", path))
            config = os.path.join(folder, "s.yaml")
            with open(config, "w") as out:
                out.write(f"traces: [{NEEDLE}]\npolicies:\n  - {{policy: quest, budgets: 5}}\n")
            self.assertEqual(self.refused(lambda: doublep.run(config), "s.yaml:3:30", "budgets"),
                             self.program_says("run", config))
        self.assertEqual(self.refused(lambda: doublep.Decoder("qest"), "quest"),
                         self.program_says("policies", "qest"))

    def test_parameters(self):
        for arguments, words in (
                ((dict(policy="double_p", p1=2.0)), ("double_p", "p1", "2.0", "(0, 1]")),
                ((dict(policy="double_p", p1=0.5, p2=0.9)), ("p2", "p1")),
                ((dict(policy="double_p", p9=1)), ("p9", "tokens_per_cluster")),
                ((dict(policy="double_p", variant="worst")), ("worst", "best")),
                ((dict(policy="double_p", p1=[0.5])), ("p1", "list")),
                ((dict(policy="double_p", p1=True)), ("p1", "true")),
                ((dict(policy="quest", budget=-3)), ("budget", "-3")),
                ((dict(policy="dense", backend="gpu")), ("backend", "cpu, cuda or auto", "gpu")),
                ((dict(policy="dense", kv_dtype="int8")), ("kv_dtype", "bf16", "int8")),
                ((dict(policy="dense", softmax_scale=0.0)), ("softmax_scale",)),
                ((dict(policy="dense", seed=-1)), ("seed", "-1")),
                ((dict(policy="dense", layer=-1)), ("layer", "-1")),
                ((dict(policy="dense", capacity=0)), ("capacity", "0"))):
            with self.subTest(arguments):
                self.refused(lambda: doublep.Decoder(**arguments), *words)

    @unittest.skipIf(doublep.has_cuda(), "built with CUDA: it is not refused")
    def test_a_backend_that_is_not_there(self):
        self.refused(lambda: doublep.Decoder("dense", "cuda"), "cuda", "nvcc")
        self.assertEqual(doublep.Decoder("dense", "auto").backend, "cpu")

    def test_order_of_calls(self):
        layer, decoder = Layer(), doublep.Decoder("loki", rank=16)
        self.refused(lambda: decoder.step(layer.q), "step before prefill")
        self.refused(lambda: decoder.append(layer.k, layer.v), "append before prefill")
        small = Layer(head_dim=8)
        self.refused(lambda: decoder.prefill(small.k, small.v), "loki", "16", "8")
        self.refused(lambda: decoder.step(small.q), "step before prefill")
        decoder.prefill(layer.k, layer.v)
        decoder.step(layer.q)
        self.refused(lambda: doublep.Decoder("double_p", metric="query").prefill(layer.k, layer.v),
                     "metric: query", "prefill_queries")

    def test_arrays(self):
        layer, decoder = Layer(), doublep.Decoder("dense")
        k, v, q = layer.k, layer.v, layer.q
        for call, words in (
                (lambda: decoder.prefill([1, 2], v), ("prefill: k", "list", "float32")),
                (lambda: decoder.prefill(k.astype(np.float64), v), ("prefill: k", "float64")),
                (lambda: decoder.prefill(k, v.astype(np.int16)), ("prefill: v", "16 bits")),
                (lambda: decoder.prefill(k[0], v), ("prefill: k", "[300, 32]",
                                                    "[num_kv_heads, tokens, head_dim]")),
                (lambda: decoder.prefill(k[:, :0], v[:, :0]), ("prefill: k", "[2, 0, 32]")),
                (lambda: decoder.prefill(k, v[:, 1:]), ("prefill: v", "[2, 299, 32]")),
                (lambda: decoder.prefill(k, v, q), ("prefill_queries", "[8, 32]", "positions")),
                (lambda: decoder.prefill(k, v, q[None, :3]), ("prefill_queries", "groups")),
                (lambda: decoder.prefill(k, v, np.repeat(q[None], 301, 0)), ("301", "300")),
                (lambda: decoder.prefill(k, v, q[None] * np.inf), ("prefill_queries[0, 0, 0]",))):
            self.refused(call, *words)
        decoder.prefill(k, v)
        bad = np.array(k[:, :2])
        bad[1, 0, 3] = np.nan
        for call, words in (
                (lambda: decoder.append(bad, v[:, :2]), ("append: k[1, 0, 3] is nan", "finite")),
                (lambda: decoder.append(k[:, :1] * 1e16, v[:, :1]), ("append: k[0, 0, 0]", "1e+15")),
                (lambda: decoder.append(k[:1, :1], v[:1, :1]), ("append: k", "2 KV heads")),
                (lambda: decoder.append(k[..., :8], v), ("append: k", "32", "dimensions")),
                (lambda: decoder.step(q[:, :5]), ("step: q", "[8, 5]", "32 dimensions")),
                (lambda: decoder.step(q[:7]), ("step: q", "[7, 32]", "2 KV heads")),
                (lambda: decoder.step(q * np.nan), ("step: q[0, 0] is", "nan"))):
            self.refused(call, *words)
        decoder.step(q)
        self.refused(lambda: decoder.step(q[:4]), "4 query heads", "8 before")
        self.assertEqual(decoder.length, 300)

    def test_replay(self):
        trace = doublep.Trace(NEEDLE)
        self.refused(lambda: trace.layer(5), "no layer 5", "4, 7")
        for given, words in ((dict(layers=[4, 4]), ("layer 4", "twice")),
                             (dict(layers=[5]), ("no layer 5",)),
                             (dict(every_step=0), ("every_step", "0")),
                             (dict(max_steps=-1), ("max_steps", "-1")),
                             (dict(target_mass=1.5), ("target_mass", "1.5")),
                             (dict(sink=-1), ("no parameter 'sink'",))):
            with self.subTest(given):
                self.refused(lambda: doublep.replay(trace, "dense", **given), *words)
        self.refused(lambda: doublep.replay(trace, "loki", rank=500), "rank", "500", "128")
        for threads in (-1, 4097, 10**6):  # what --jobs takes; a million were made, as far as the system let them
            self.refused(lambda: doublep.set_num_threads(threads), f"set_num_threads: expected 0 to 4096, not {threads}")


if __name__ == "__main__":
    unittest.main()
