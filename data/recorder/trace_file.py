"""A kv-trace, version 1, written while a model produces it.

Everything goes to `<path>.partial`, which takes its name when finish() has returned and is removed
where anything fails before: an earlier file of that name is intact until then.
"""
import os
from dataclasses import dataclass

import h5py
import numpy as np

from .encoding import RecordError, Rows


@dataclass(frozen=True)
class LayerKind:
    """What a layer's attention is. The first five are the file's, common to all layers."""
    num_query_heads: int
    num_kv_heads: int
    head_dim: int
    value_dim: int
    softmax_scale: float
    logit_softcap: float | None = None
    sliding_window: int | None = None  # a query sees this many keys, its own included

    def of_file(self):
        return (self.num_query_heads, self.num_kv_heads, self.head_dim, self.value_dim,
                self.softmax_scale)


class TraceFile:
    """num_tokens = prompt + steps keys a head; the steps stand at prompt .. prompt + steps - 1.

    `tell` takes one line for people. Rows are float32 numpy arrays; positions count from the
    prompt's first token.
    """

    def __init__(self, path, prompt, steps, prefill_queries, store="auto", tell=lambda line: None):
        self.path, self.partial = path, path + ".partial"
        self.prompt, self.steps, self.prefill = prompt, steps, prefill_queries
        self.store, self.tell = store, tell
        self.kinds, self.rows = {}, {}
        folder = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(folder):
            raise RecordError(f"{path}: there is no folder {folder}; make it first")
        if os.path.isdir(path):
            raise RecordError(f"{path}: is a folder; --out names the file to write")
        try:
            self.file = h5py.File(self.partial, "w")
        except OSError as error:
            raise RecordError(f"{self.partial}: cannot be written ({error.strerror or error})")

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if self.file is None:
            return
        try:
            self.file.close()
        except (OSError, RuntimeError):  # a full disk, told by the first error
            pass
        finally:
            self.file = None
            if os.path.exists(self.partial):
                os.remove(self.partial)

    def add_layer(self, layer, kind):
        """Before a layer's first rows; later calls for the same layer are free."""
        if layer in self.kinds:
            return
        for other, known in self.kinds.items():
            if known.of_file() != kind.of_file():
                raise RecordError(
                    f"layers {other} and {layer} differ in heads, dimensions or softmax scale "
                    f"({known.of_file()} and {kind.of_file()}); choose layers of one kind with "
                    "--layers")
        if kind.num_query_heads % kind.num_kv_heads:
            raise RecordError(f"layer {layer}: {kind.num_query_heads} query heads do not share "
                              f"{kind.num_kv_heads} KV heads evenly; the format has no such layer")
        self.kinds[layer] = kind
        group = self.file.create_group(f"layers/{layer}")
        tokens, heads = self.prompt + self.steps, kind.num_query_heads
        shapes = {"keys": ((kind.num_kv_heads, tokens, kind.head_dim), 1),
                  "values": ((kind.num_kv_heads, tokens, kind.value_dim), 1),
                  "queries": ((self.steps, heads, kind.head_dim), 0)}
        if self.prefill:
            shapes["prefill_queries"] = ((self.prefill, heads, kind.head_dim), 0)
        self.rows[layer] = {name: Rows(group, name, shape, axis, self.store, self.tell)
                            for name, (shape, axis) in shapes.items()}

    def write_cache(self, layer, position, keys, values):
        """[num_kv_heads, n, head_dim] and [num_kv_heads, n, value_dim], from `position` on."""
        self._write(layer, "keys", position, keys)
        self._write(layer, "values", position, values)

    def write_queries(self, layer, position, queries):
        """[n, num_query_heads, head_dim], from `position` on; those not asked for are left out."""
        for name, begin, count in (("prefill_queries", self.prompt - self.prefill, self.prefill),
                                   ("queries", self.prompt, self.steps)):
            first, last = max(position, begin), min(position + len(queries), begin + count)
            if first < last:
                self._write(layer, name, first - begin,
                            queries[first - position:last - position])

    def _write(self, layer, name, first, rows):
        try:
            self.rows[layer][name].write(first, rows)
        except OSError as error:
            raise RecordError(f"{self.partial}: writing failed ({error}); is the disk full?")

    def shorten(self, steps):
        """The answer ended after so many steps."""
        self.steps = steps
        for rows in self.rows.values():
            for name in ("keys", "values"):
                rows[name].shorten(self.prompt + steps)
            rows["queries"].shorten(steps)

    def write_outputs(self, compute):
        """compute(keys, values, queries, positions, kind) -> float32 [T, num_query_heads,
        value_dim], from the datasets as stored."""
        positions = self.positions()
        for layer, rows in sorted(self.rows.items()):
            outputs = compute(rows["keys"].dataset, rows["values"].dataset,
                              rows["queries"].dataset, positions, self.kinds[layer])
            self.file[f"layers/{layer}"].create_dataset("outputs", data=outputs, dtype=np.float32)

    def positions(self):
        return np.arange(self.prompt, self.prompt + self.steps, dtype=np.int64)

    def finish(self, **attributes):
        """Root attributes beside those of the format, the positions, and the file's name."""
        kind = next(iter(self.kinds.values()))
        root = dict(format="kv-trace", version=1, num_query_heads=kind.num_query_heads,
                    num_kv_heads=kind.num_kv_heads, head_dim=kind.head_dim,
                    num_tokens=self.prompt + self.steps, softmax_scale=kind.softmax_scale,
                    rope_applied=True)
        if kind.value_dim != kind.head_dim:
            root["value_dim"] = kind.value_dim
        try:
            for name, value in (root | attributes).items():
                if isinstance(value, str):  # of fixed length: the simplest thing that HDF5 has
                    stored = value.encode()
                    value = np.array(stored, h5py.string_dtype("utf-8", max(1, len(stored))))
                self.file.attrs[name] = value
            self.file["positions"] = self.positions()
            for layer, kind in self.kinds.items():
                group = self.file[f"layers/{layer}"]
                if kind.logit_softcap is not None:
                    group.attrs["logit_softcap"] = kind.logit_softcap
                # A window that no step outgrows hides nothing: that is plain attention.
                if kind.sliding_window and kind.sliding_window < self.prompt + self.steps:
                    group.attrs["sliding_window"] = kind.sliding_window
            self.file.close()
            with open(self.partial, "rb+") as written:
                os.fsync(written.fileno())
            os.replace(self.partial, self.path)
        except (OSError, RuntimeError) as error:
            raise RecordError(f"{self.partial}: writing failed ({error}); is the disk full?")
        self.file = None
