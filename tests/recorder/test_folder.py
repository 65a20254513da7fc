"""What users dump with numpy.save (and safetensors, where it is installed) is read by the program as
the HDF5 file of the same arrays is, value for value. DOUBLEP_PROGRAM names the program."""

import os
import subprocess
import tempfile
import unittest

import h5py
import numpy as np

try:
    import safetensors.numpy
except ImportError:
    safetensors = None

PROGRAM = os.environ.get("DOUBLEP_PROGRAM", "")
TOKENS, STEPS, HEADS, KV_HEADS, DIM = 300, 4, 4, 2, 16
SCALE = DIM**-0.5


def arrays(dtype):
    draw = np.random.default_rng(3)
    shapes = {"keys": (KV_HEADS, TOKENS, DIM), "values": (KV_HEADS, TOKENS, DIM),
              "queries": (STEPS, HEADS, DIM)}
    return {layer: {name: draw.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
            for layer in (2, 9)}


@unittest.skipUnless(PROGRAM, "DOUBLEP_PROGRAM does not name the program")
class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def describe(self, name, tensors):
        os.mkdir(self.path(name))
        with open(self.path(name, "trace.yaml"), "w", encoding="utf-8") as file:
            file.write(f"softmax_scale: {SCALE}\ntensors: '{tensors}'\n")

    def statistics(self, name):
        done = subprocess.run([PROGRAM, "inspect", self.path(name), "--csv", "-"], capture_output=True,
                              text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def hdf5(self, layers):
        with h5py.File(self.path("mine.h5"), "w") as file:
            file.attrs.update(format="kv-trace", version=1, num_query_heads=HEADS,
                              num_kv_heads=KV_HEADS, head_dim=DIM, num_tokens=TOKENS,
                              softmax_scale=SCALE)
            file["positions"] = np.arange(TOKENS - STEPS, TOKENS)
            for layer, tensors in layers.items():
                for name, values in tensors.items():
                    file[f"layers/{layer}/{name}"] = values
        return self.statistics("mine.h5")

    def test_numpy_save(self):
        for dtype in (np.float16, np.float32):
            name = np.dtype(dtype).name
            layers = arrays(dtype)
            self.describe(name, "layer{layer}.{tensor}.npy")
            for layer, tensors in layers.items():
                for tensor, values in tensors.items():
                    np.save(self.path(name, f"layer{layer}.{tensor}.npy"), values)
            self.assertEqual(self.statistics(name), self.hdf5(layers))

    def test_what_numpy_saves_otherwise_is_refused_by_what_it_is(self):
        layers = arrays(np.float32)
        for name, change, said in (
                ("double", lambda a: a.astype(np.float64), "is of type <f8"),
                ("big", lambda a: a.astype(">f4"), "is of type >f4"),
                ("fortran", np.asfortranarray, "Fortran order"),
                ("turned", lambda a: a.transpose(1, 0, 2).copy(), "expected")):
            self.describe(name, "layer{layer}.{tensor}.npy")
            for layer, tensors in layers.items():
                for tensor, values in tensors.items():
                    kept = change(values) if tensor == "values" else values
                    np.save(self.path(name, f"layer{layer}.{tensor}.npy"), kept)
            done = subprocess.run([PROGRAM, "validate", self.path(name)], capture_output=True,
                                  text=True, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn(said, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)

    @unittest.skipUnless(safetensors, "safetensors is not installed")
    def test_safetensors_save_file(self):
        layers = arrays(np.float16)
        self.describe("tensors", "layers.{layer}.{tensor}")
        safetensors.numpy.save_file(
            {f"layers.{layer}.{name}": values for layer, tensors in layers.items()
             for name, values in tensors.items()}, self.path("tensors", "all.safetensors"))
        self.assertEqual(self.statistics("tensors"), self.hdf5(layers))


if __name__ == "__main__":
    unittest.main()
