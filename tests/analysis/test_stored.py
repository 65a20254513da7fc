"""Data that lie outside of the file, or were never written, are refused by name, in results and simulations."""

import os
import tempfile
import unittest

import h5py
import numpy as np
import synthetic

from analysis.errors import ResultError
from analysis.reader import read
from analysis.simulation.reader import read as read_simulation


def simulation(path, **root):
    """The smallest file that is read as a simulation: one curve of one point, one profile."""
    with h5py.File(path, "w") as file:
        file.attrs.update(dict(format="doublep-simulation", version=1, name="toy", created="now", commit="0",
                               config_hash="0") | root)
        curve = file.create_group("runs/a")
        curve.attrs.update(dict(study="s", hardware="h", what_if="", model="m", workload="w", policy="dense",
                                label="dense", parameters="{}", order=0, output_error=0.0, covered_mass=1.0))
        curve["points"] = np.array([(7, 0.5)], dtype=[("context", "<i8"), ("seconds", "<f8")])
        profile = file.create_group("profiles/0")
        profile.attrs.update(dict(trace="t", policy="dense", parameters="{}", context=7, output_error=0.0))
    return path


class Stored(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def files(self):
        """(reader, writes a sound file at a path, group, dataset in it) of either kind."""
        runs = [synthetic.run("quest", [synthetic.row()])]
        result = synthetic.write(os.path.join(self.folder, "k.h5"), [synthetic.trace()], runs)
        key = next(iter(h5py.File(result)["runs"]))
        yield (read, lambda path: synthetic.write(path, [synthetic.trace()], runs), f"runs/{key}", "rows")
        yield (read_simulation, simulation, "runs/a", "points")

    def refused(self, reader, path, *words):
        with self.assertRaises(ResultError) as caught:
            reader(path)
        line = str(caught.exception)
        self.assertNotIn("\n", line)
        for word in (path, "expected", "write it again") + words:
            self.assertIn(word, line)

    def test_what_lies_elsewhere_or_was_never_written(self):
        for number, (reader, write, group, name) in enumerate(self.files()):
            sound, place = write(os.path.join(self.folder, f"sound{number}.h5")), f"/{group}/{name}"
            reader(sound)
            with h5py.File(sound) as file:
                kind = file[place].dtype

            def virtual(node):
                layout = h5py.VirtualLayout(shape=(1,), dtype=kind)
                layout[:] = h5py.VirtualSource(sound, place, shape=(1,))
                node.create_virtual_dataset(name, layout)

            def external(node):
                node.create_dataset(name, shape=(1,), dtype=kind, external=[("/etc/passwd", 0, kind.itemsize)])

            def link(node):
                node[name] = h5py.ExternalLink(sound, place)

            def unwritten(node):
                node.create_dataset(name, shape=(1,), dtype=kind)

            def chunks(node):
                node.create_dataset(name, shape=(1000,), dtype=kind, chunks=(10,))[:10] = np.ones(1, kind)

            def large(node):
                node.create_dataset(name, shape=(1 << 16,), dtype=kind, chunks=(1 << 16,), compression="gzip",
                                    data=np.zeros(1 << 16, kind))

            for damage, word in ((virtual, "virtual dataset"), (external, "external storage"),
                                 (link, "another file"), (unwritten, "found 0"),
                                 (chunks, "expected 100 chunks, found 1"), (large, "at most 131072 bytes")):
                with self.subTest(damage.__name__, reader=reader.__module__):
                    path = write(os.path.join(self.folder, f"{damage.__name__}{number}.h5"))
                    with h5py.File(path, "r+") as file:
                        del file[group][name]
                        damage(file[group])
                    self.refused(reader, path, place, word)

    def test_groups_that_lie_elsewhere(self):
        for number, (reader, write, group, _) in enumerate(self.files()):
            sound = write(os.path.join(self.folder, f"sound{number}.h5"))
            for name in (group, "runs"):
                path = write(os.path.join(self.folder, f"linked{number}.h5"))
                with h5py.File(path, "r+") as file:
                    del file[name]
                    file[name] = h5py.ExternalLink(sound, f"/{name}")
                self.refused(reader, path, f"/{name}", "another file")

    def test_a_simulation_of_another_version_or_kind(self):
        path = os.path.join(self.folder, "s.h5")
        self.refused(read_simulation, simulation(path, version=2), "'version'", "expected 1, found 2")
        with self.assertRaisesRegex(ResultError, "expected 'doublep-simulation', found 'doublep-result'"):
            read_simulation(simulation(path, format="doublep-result"))


if __name__ == "__main__":
    unittest.main()
