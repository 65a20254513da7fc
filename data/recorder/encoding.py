"""float32 rows as float16, bfloat16 or float32, and a growing dataset that holds them.

HDF5 has no bfloat16: it is stored as its bits (uint16) with the attribute encoding = "bfloat16".
"""
import numpy as np

COPY_ROWS = 4096  # at a time, where a dataset is converted


class RecordError(Exception):
    """Bad input or a limit of the machine: one line that says where, what, and what to do."""


def to_bfloat16(rows):
    """The bits of float32 values, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(rows, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def to_float32(stored):
    """What a reader makes of stored values."""
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


def encode(rows, encoding):
    """Stored form of finite float32 values, or None where one of them would become infinite."""
    if encoding == "float32":
        return rows
    if encoding == "bfloat16":
        stored = to_bfloat16(rows)
        return stored if np.isfinite(to_float32(stored)).all() else None
    with np.errstate(over="ignore"):
        stored = rows.astype(np.float16)
    return stored if np.isfinite(stored).all() else None


class Rows:
    """A dataset filled along one axis, in runs of rows; the axis may be shortened at the end.

    Begins as float16 where `store` is "auto", and becomes bfloat16, with what was written so far,
    when the first value comes that float16 cannot hold.
    """

    def __init__(self, group, name, shape, axis, store, tell):
        self.group, self.name, self.shape, self.axis, self.tell = group, name, shape, axis, tell
        self.converts = store == "auto"
        self.filled = 0  # rows of the axis, from the first to the last written
        self.encoding = "float16" if self.converts else store
        # One head's run of tokens, or a few steps of all heads, is a piece on the disk.
        self.pieces = tuple(1 if a < axis else min(n, 256 if axis else 16) if a == axis else n
                            for a, n in enumerate(shape))
        self.dataset = self._create(name)

    @property
    def place(self):
        return f"{self.group.name.lstrip('/')}/{self.name}"

    def _create(self, name):
        kind = {"float16": np.float16, "bfloat16": np.uint16, "float32": np.float32}[self.encoding]
        dataset = self.group.create_dataset(name, self.shape, kind, chunks=self.pieces,
                                            maxshape=self.shape)
        if self.encoding == "bfloat16":
            dataset.attrs["encoding"] = "bfloat16"
        return dataset

    def _run(self, first, count):
        return (slice(None),) * self.axis + (slice(first, first + count),)

    def write(self, first, rows):
        """`rows`: float32, `shape` but for the axis, where they begin at `first`."""
        if not np.isfinite(rows).all():
            at = first + int(np.argwhere(~np.isfinite(rows))[0][self.axis])
            raise RecordError(f"{self.place}: NaN or infinity at {at}, computed by the model; "
                              "choose a wider --dtype (bfloat16 or float32)")
        stored = encode(rows, self.encoding)
        if stored is None:
            self._widen(float(np.abs(rows).max()))
            stored = encode(rows, self.encoding)
            if stored is None:
                raise RecordError(f"{self.place}: {np.abs(rows).max():g} is beyond bfloat16's "
                                  "range; record with --store float32")
        self.dataset[self._run(first, rows.shape[self.axis])] = stored
        self.filled = max(self.filled, first + rows.shape[self.axis])

    def _widen(self, value):
        if not self.converts or self.encoding != "float16":
            return
        self.tell(f"{self.place}: {value:g} does not fit float16; stored as bfloat16")
        self.encoding = "bfloat16"
        old, new = self.dataset, self._create(self.name + ".bfloat16")
        for first in range(0, self.filled, COPY_ROWS):
            run = self._run(first, min(COPY_ROWS, self.filled - first))
            new[run] = to_bfloat16(old[run].astype(np.float32))
        del self.group[self.name]
        self.group.move(self.name + ".bfloat16", self.name)
        self.dataset = self.group[self.name]

    def shorten(self, count):
        self.shape = self.shape[:self.axis] + (count,) + self.shape[self.axis + 1:]
        self.dataset.resize(self.shape)
