"""The hash that a result carries of its own content (experiments/RESULT_FORMAT.md)."""

import hashlib

import numpy as np

NAME = "content_hash"


def of_run(key, attributes, tables):
    """`attributes`: a mapping as h5py gives it; `tables`: (name, structured array) in order."""
    digest = hashlib.sha256(f"run {key}\n".encode())
    _add_attributes(digest, attributes)
    for name, table in tables:
        lines = [f"table {name} {len(table)}\n"]
        lines += [f"{field} {table.dtype[field].kind}{table.dtype[field].itemsize}\n"
                  for field in table.dtype.names]
        digest.update("".join(lines).encode())
        packed = [(field, table.dtype[field].newbyteorder("<")) for field in table.dtype.names]
        digest.update(table.astype(packed).tobytes())
    return digest.hexdigest()


def of_root(file):
    """Of an open file, or anything that is nested like one."""
    digest = hashlib.sha256(b"root\n")
    _add_attributes(digest, file.attrs)
    for name in sorted(file["traces"]):
        digest.update(f"trace {name}\n".encode())
        _add_attributes(digest, file["traces"][name].attrs)
    for key in sorted(file["runs"]):
        value = file["runs"][key].attrs.get(NAME, "")
        digest.update(f"run {key} ".encode() + _bytes(value) + b"\n")
    return digest.hexdigest()


def _add_attributes(digest, attributes):
    for name in sorted(attributes):
        if name != NAME:
            digest.update(f"{name} ".encode() + _canonical(attributes[name]) + b"\n")


def _bytes(text):
    return text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogateescape")


def _canonical(value):
    if isinstance(value, (str, bytes)):
        text = _bytes(value)
        return f"text {len(text)} ".encode() + text
    if isinstance(value, np.ndarray) and value.ndim > 0:
        return "".join(["ints"] + [f" {int(item)}" for item in value]).encode()
    if isinstance(value, (float, np.floating)):
        return b"real " + f"{np.float64(value).view(np.uint64):016x}".encode()
    return f"int {int(value)}".encode()
