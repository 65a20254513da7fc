"""What is stored of float32 rows, and a file that appears whole or not at all. Needs no model."""

import os
import sys
import tempfile
import unittest

import h5py
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "data"))

from recorder.encoding import RecordError, Rows, encode, to_bfloat16, to_float32
from recorder.trace_file import LayerKind, TraceFile

KIND = LayerKind(4, 2, 8, 8, 8**-0.5)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.told = folder.name, []
        self.path = os.path.join(folder.name, "t.h5")

    def refuses(self, *words):
        test = self

        class Context:
            def __enter__(self):
                return self

            def __exit__(self, kind, error, trace):
                test.assertIs(kind, RecordError)
                test.assertNotIn("\n", str(error))
                for word in words:
                    test.assertIn(word, str(error))
                return True
        return Context()


class Encoding(Folder):
    def test_bfloat16_rounds_to_nearest_and_ties_to_even(self):
        values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -65504, 1e38, 0],
                          np.float32)
        expected = [1.0, 1.0, 1 + 2**-6, 1 + 2**-7, -65536, 9.969209968386869e37, 0]
        np.testing.assert_array_equal(to_float32(to_bfloat16(values)),
                                      np.array(expected, np.float32))

    def test_a_value_that_would_become_infinite_is_not_stored(self):
        self.assertIsNotNone(encode(np.array([65519], np.float32), "float16"))
        self.assertIsNone(encode(np.array([65520], np.float32), "float16"))
        self.assertIsNone(encode(np.array([3.4e38], np.float32), "bfloat16"))

    def rows(self, file, store="auto", axis=1):
        return Rows(file, "keys", (2, 600, 8), axis, store, self.told.append)

    def test_an_overflow_late_in_a_dataset_keeps_what_was_written(self):
        early, late = noise(2, 550, 8), noise(2, 50, 8, seed=1)
        late[1, 7, 3] = -70000
        with h5py.File(self.path, "w") as file:
            rows = self.rows(file)
            rows.write(0, early[:, :300])
            rows.write(300, early[:, 300:])
            self.assertEqual(file["keys"].dtype, np.float16)
            rows.write(550, late)
            rows.write(590, late[:, 40:])  # and goes on
        with h5py.File(self.path) as file:
            self.assertEqual(list(file), ["keys"])
            self.assertEqual(file["keys"].attrs["encoding"], "bfloat16")
            stored = to_float32(file["keys"][:])
        np.testing.assert_array_equal(stored[:, :550],
                                      to_float32(to_bfloat16(early.astype(np.float16))))
        np.testing.assert_array_equal(stored[:, 550:], to_float32(to_bfloat16(late)))
        self.assertEqual(len(self.told), 1)
        self.assertIn("keys: 70000 does not fit float16", self.told[0])

    def test_what_cannot_be_stored_is_refused_and_named(self):
        with h5py.File(self.path, "w") as file:
            rows = self.rows(file)
            bad = noise(2, 5, 8)
            bad[1, 3, 2] = np.nan
            with self.refuses("keys: NaN or infinity at 23", "--dtype"):
                rows.write(20, bad)
            bad[1, 3, 2] = 3.4e38
            with self.refuses("beyond bfloat16", "--store float32"):
                rows.write(20, bad)

    def test_float32_is_exact(self):
        values = noise(2, 600, 8) * 1e30
        with h5py.File(self.path, "w") as file:
            self.rows(file, "float32").write(0, values)
            np.testing.assert_array_equal(file["keys"][:], values)


class Writing(Folder):
    def fill(self, sink, layer=0, kind=KIND, tokens=12):
        sink.add_layer(layer, kind)
        for first in range(0, tokens, 5):
            n = min(5, tokens - first)
            sink.write_cache(layer, first, noise(kind.num_kv_heads, n, kind.head_dim, seed=first),
                             noise(kind.num_kv_heads, n, kind.value_dim, seed=first + 100))
            sink.write_queries(layer, first, noise(n, kind.num_query_heads, kind.head_dim,
                                                   seed=first + 200))

    def test_queries_go_where_they_stand(self):
        every = np.concatenate([noise(n, 4, 8, seed=first + 200)
                                for first, n in ((0, 5), (5, 5), (10, 2))]).astype(np.float16)
        with TraceFile(self.path, prompt=9, steps=3, prefill_queries=6) as sink:
            self.fill(sink)
            sink.finish(model="m", task="t", seed=0)
        with h5py.File(self.path) as file:
            np.testing.assert_array_equal(file["layers/0/prefill_queries"][:], every[3:9])
            np.testing.assert_array_equal(file["layers/0/queries"][:], every[9:])
            np.testing.assert_array_equal(file["positions"][:], [9, 10, 11])
            self.assertEqual(file.attrs["num_tokens"], 12)
            self.assertNotIn("value_dim", file.attrs)

    def test_value_dim_window_and_softcap_are_told(self):
        with TraceFile(self.path, 9, 3, 0) as sink:
            self.fill(sink, 1, LayerKind(4, 2, 8, 6, 0.5, 30.0, 11))
            self.fill(sink, 4, LayerKind(4, 2, 8, 6, 0.5, None, 12))  # as long as the sequence
            sink.finish(model="m")
        with h5py.File(self.path) as file:
            self.assertEqual(file.attrs["value_dim"], 6)
            self.assertEqual(dict(file["layers/1"].attrs), {"logit_softcap": 30.0,
                                                            "sliding_window": 11})
            self.assertEqual(dict(file["layers/4"].attrs), {})
            self.assertNotIn("prefill_queries", file["layers/1"])

    def test_layers_of_two_kinds_are_refused(self):
        with self.refuses("layers 0 and 5 differ", "--layers"):
            with TraceFile(self.path, 9, 3, 6) as sink:
                sink.add_layer(0, KIND)
                sink.add_layer(5, LayerKind(4, 2, 16, 16, 0.25))
        self.assertEqual(os.listdir(self.folder), [])

    def test_an_answer_that_ends_early_shortens_the_file(self):
        with TraceFile(self.path, 9, 3, 6) as sink:
            self.fill(sink, tokens=10)
            sink.shorten(1)
            sink.finish(model="m")
        with h5py.File(self.path) as file:
            self.assertEqual(file.attrs["num_tokens"], 10)
            self.assertEqual(file["layers/0/keys"].shape, (2, 10, 8))
            self.assertEqual(file["layers/0/queries"].shape, (1, 4, 8))
            np.testing.assert_array_equal(file["positions"][:], [9])

    def test_unfinished_leaves_the_earlier_file_and_nothing_else(self):
        with open(self.path, "w") as earlier:
            earlier.write("earlier")
        with self.assertRaises(KeyboardInterrupt):
            with TraceFile(self.path, 9, 3, 6) as sink:
                self.fill(sink)
                self.assertIn("t.h5.partial", os.listdir(self.folder))
                raise KeyboardInterrupt
        self.assertEqual(os.listdir(self.folder), ["t.h5"])
        with open(self.path) as earlier:
            self.assertEqual(earlier.read(), "earlier")

    def test_places_that_cannot_be_written(self):
        with self.refuses("no folder", "nowhere"):
            TraceFile(os.path.join(self.folder, "nowhere", "t.h5"), 9, 3, 6)
        with self.refuses("is a folder"):
            TraceFile(self.folder, 9, 3, 6)

    def test_a_full_disk_is_one_line_and_leaves_nothing(self):
        with self.refuses("t.h5.partial", "is the disk full?"):
            with TraceFile(self.path, 9, 3, 6) as sink:
                sink.add_layer(0, KIND)
                sink.rows[0]["keys"].dataset = FullDisk()
                sink.write_cache(0, 0, noise(2, 5, 8), noise(2, 5, 8))
        self.assertEqual(os.listdir(self.folder), [])


class FullDisk:
    def __setitem__(self, where, what):
        raise OSError(28, "No space left on device")


if __name__ == "__main__":
    unittest.main()
