"""Whose memory a decoder reads: nothing is copied that need not be, and what is read stays."""

import gc
import sys
import unittest
import weakref

import numpy as np
from support import Layer, Lent, dense

import doublep

try:
    import torch
except ImportError:
    torch = None


class Array(np.ndarray):
    """One that can be seen to go."""


class NoCopy(unittest.TestCase):
    def changed_is_seen(self, layer, wrap):
        """Prefills, appends in place, then changes the arrays behind the decoder's back."""
        k, v = layer.k, layer.v
        decoder = doublep.Decoder("dense")
        decoder.prefill(wrap(k[:, :200]), wrap(v[:, :200]))
        decoder.append(wrap(k[:, 200:]), wrap(v[:, 200:]))
        self.assertTrue(decoder.reads_in_place)
        k *= 0.5
        v += 1
        output, _ = dense(k, v, layer.q)
        np.testing.assert_allclose(decoder.step(layer.q).output, output, atol=1e-5)

    def test_numpy(self):
        self.changed_is_seen(Layer(), lambda a: a)

    def test_read_only(self):
        def wrap(array):
            view = array.view()
            view.flags.writeable = False
            return view
        self.changed_is_seen(Layer(), wrap)

    def test_dlpack(self):
        self.changed_is_seen(Layer(), Lent)
        self.changed_is_seen(Layer(kv_heads=1), Lent)

    @unittest.skipIf(torch is None, "no torch here: its tensors are not tried")
    def test_torch(self):
        self.changed_is_seen(Layer(), torch.from_numpy)
        layer = Layer()
        for kind in (torch.float16, torch.bfloat16):
            k, v, q = (torch.from_numpy(a).to(kind) for a in (layer.k, layer.v, layer.q))
            decoder = doublep.Decoder("dense")
            decoder.prefill(k[None], v[None])
            self.assertFalse(decoder.reads_in_place)
            output, _ = dense(*(a.float().numpy() for a in (k, v, q)))
            np.testing.assert_allclose(decoder.step(q).output, output, atol=1e-5)

    def test_outputs_are_not_copied_either(self):
        layer = Layer()
        decoder = doublep.Decoder("dense")
        decoder.prefill(layer.k, layer.v)
        step = decoder.step(layer.q)
        self.assertTrue(np.shares_memory(step.output, step.output))
        step.output[0, 0] = 7
        self.assertEqual(step.output[0, 0], 7)

    def test_a_copy_does_not_see_what_changes(self):
        layer = Layer()
        decoder = doublep.Decoder("dense")
        decoder.prefill(layer.k[:, :200], layer.v[:, :200])
        decoder.append(layer.k[:, 200:].copy(), layer.v[:, 200:].copy())
        before = decoder.step(layer.q).output
        layer.k *= 2
        np.testing.assert_array_equal(decoder.step(layer.q).output, before)


class Lifetimes(unittest.TestCase):
    def test_held_as_long_as_read(self):
        layer = Layer()
        k, v = layer.k.view(Array), layer.v.view(Array)
        gone = weakref.ref(k)
        decoder = doublep.Decoder("dense")
        decoder.prefill(k[:, :200], v[:, :200])
        del k
        gc.collect()
        self.assertIsNotNone(gone())
        decoder.append(layer.k[:, 200:].copy(), layer.v[:, 200:].copy())
        gc.collect()
        self.assertIsNone(gone())

    def test_released_with_the_decoder_and_where_a_call_fails(self):
        layer = Layer()
        before = [sys.getrefcount(a) for a in (layer.k, layer.v, layer.q)]
        for bad in (layer.v[:1], layer.v.astype(np.float64), layer.v * np.nan):
            decoder = doublep.Decoder("dense")
            with self.assertRaises(doublep.InputError):
                decoder.prefill(layer.k, bad)
        decoder.prefill(layer.k, layer.v, layer.q[None])
        decoder.step(layer.q)
        del decoder
        gc.collect()
        self.assertEqual([sys.getrefcount(a) for a in (layer.k, layer.v, layer.q)], before)

    def test_a_result_outlives_what_made_it(self):
        layer = Layer()
        decoder = doublep.Decoder("dense")
        decoder.prefill(layer.k, layer.v)
        output = decoder.step(layer.q).output
        del decoder
        gc.collect()
        np.testing.assert_allclose(output, dense(layer.k, layer.v, layer.q)[0], atol=1e-5)

    def test_a_failed_append_leaves_the_sequence_as_it_was(self):
        layer = Layer()
        decoder = doublep.Decoder("dense")
        decoder.prefill(layer.k[:, :200].copy(), layer.v[:, :200].copy())
        before = decoder.step(layer.q).output.copy()
        bad = layer.v[:, 200:201] * np.inf
        for _ in range(3):
            with self.assertRaises(doublep.InputError):
                decoder.append(layer.k[:, 200:201].copy(), bad)
        gc.collect()
        self.assertEqual(decoder.length, 200)
        np.testing.assert_array_equal(decoder.step(layer.q).output, before)


if __name__ == "__main__":
    unittest.main()
