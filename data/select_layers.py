#!/usr/bin/env python3
"""Copies some layers of a kv-trace (TRACE_FORMAT.md), and all else that it holds, to a new file.

  python3 data/select_layers.py TRACE.h5 --layers 9,27 --out SMALLER.h5

The same trace and layers give the same bytes.
"""
import argparse
import os
import sys

import h5py


class SelectError(Exception):
    """One line for people: where, what was expected, what to do."""


def select(source, layers, out):
    if os.path.exists(out) and os.path.samefile(source, out):
        raise SelectError(f"{out}: is the trace itself; name another file")
    partial = out + ".partial"
    try:
        with h5py.File(source) as old:
            held = old["layers"] if "layers" in old else {}
            for layer in layers:
                if layer not in held:
                    raise SelectError(f"{source}: has no layer {layer}; it has "
                                      + (", ".join(sorted(held, key=int)) or "none"))
            with h5py.File(partial, "w") as new:
                for name, value in old.attrs.items():
                    new.attrs[name] = value
                for name in old:
                    if name != "layers":
                        old.copy(name, new)
                group = new.create_group("layers")
                for layer in layers:
                    held.copy(layer, group)
        os.replace(partial, out)
    except OSError as error:
        raise SelectError(f"{source} to {out}: {' '.join(str(error).split())}")
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace")
    parser.add_argument("--layers", required=True, help="numbers, such as 9,27")
    parser.add_argument("--out", required=True, metavar="FILE.h5")
    options = parser.parse_args()
    layers = options.layers.split(",")
    if not all(layer.isdecimal() for layer in layers) or len(set(layers)) < len(layers):
        parser.error(f"--layers: expected different numbers, such as 9,27, not '{options.layers}'")
    try:
        select(options.trace, layers, options.out)
    except SelectError as error:
        print(f"select_layers.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
