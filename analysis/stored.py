"""Opening what a result file holds itself (experiments/RESULT_FORMAT.md): no data of other files, none made up."""

import os
from math import prod

import h5py

from analysis.errors import ResultError

LARGEST_CHUNK = 128 << 10  # bytes: HDF5 unpacks whole chunks, whatever part is read


def open_file(path, kind, remedy):
    """The open file, or a `ResultError`; `kind`: "a result file"."""
    if not os.path.isfile(path):
        raise ResultError(path, "", kind, "it does not exist: check the path")
    try:
        return h5py.File(path, "r")
    except OSError:
        raise ResultError(path, "", "an HDF5 file", f"found none, or a part: {remedy}") from None


def member(path, node, name, remedy):
    """The group or dataset of that name, or None. A link is looked at before anything is opened through it."""
    link = node.get(name, getlink=True)
    if link is None:
        return None
    place = f"{node.name.rstrip('/')}/{name}"
    if isinstance(link, h5py.ExternalLink):
        raise ResultError(path, place, "data in the file itself, found a link into another file", remedy)
    item = node.get(name)
    if isinstance(item, h5py.Dataset):
        _require_own(path, item, place, remedy)
    return item


def _require_own(path, data, place, remedy):
    if data.is_virtual:
        raise ResultError(path, place, "data in the file itself, found a virtual dataset", remedy)
    if data.external:
        raise ResultError(path, place, "data in the file itself, found external storage", remedy)
    if data.shape is None or 0 in data.shape:
        return
    if data.chunks is None:
        declared, stored = data.size * data.dtype.itemsize, data.id.get_storage_size()
        if stored < declared:
            raise ResultError(path, place, f"{declared} stored bytes, found {stored}", remedy)
        return
    chunk = prod(data.chunks) * data.dtype.itemsize
    if chunk > LARGEST_CHUNK:
        raise ResultError(path, place, f"chunks of at most {LARGEST_CHUNK} bytes, found {chunk}", remedy)
    expected = prod(-(-size // one) for size, one in zip(data.shape, data.chunks))
    written = data.id.get_num_chunks()
    if written < expected:
        raise ResultError(path, place, f"{expected} chunks, found {written}", remedy)
