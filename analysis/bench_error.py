#!/usr/bin/env python3
"""How much faster Double-P is at equal or lower output error, from `doublep bench --json`.

    python3 analysis/bench_error.py bench.json -o bench_error.png --table bench_error.md

Writes a figure of time against error, a frontier per policy, and a Markdown table of each rival's
time at the errors of Double-P's frontier (without --table: to standard output).
"""
import argparse
import os
import sys

if __package__ in (None, ""):  # run as a file: the package is the folder above
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from analysis import error_figure, style
from analysis.bench_file import read, tokens
from analysis.equal_error import OURS, chosen, families, markdown
from analysis.errors import ResultError
from analysis.writer import write_text


def context(text):
    """65536 or 64K or 1M."""
    sizes = {"K": 2**10, "M": 2**20}
    digits, size = (text[:-1], sizes[text[-1:]]) if text[-1:] in sizes else (text, 1)
    if not digits.isdigit() or int(digits) == 0:
        raise argparse.ArgumentTypeError(f"expected tokens such as 65536 or 64K, found '{text}'")
    return int(digits) * size


def arguments(argv):
    parser = argparse.ArgumentParser(prog="bench_error.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", help="JSON of doublep bench")
    parser.add_argument("--context", type=context, nargs="+", default=[2**16, 2**17],
                        metavar="TOKENS", help="a column of panels each (default: 64K 128K)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8],
                        help="a row of panels each (default: 1 8)")
    parser.add_argument("-o", "--output", default="bench_error.png",
                        help="figure, .png or .svg (default: bench_error.png)")
    parser.add_argument("--table", metavar="FILE", help="Markdown (default: standard output)")
    args = parser.parse_args(argv)
    if os.path.splitext(args.output)[1] not in (".png", ".svg"):
        parser.error(f"--output: expected a name ending in .png or .svg, found '{args.output}'")
    return args


def check(path, points, contexts, batches):
    """Every panel needs Double-P and someone to hold against it."""
    there = sorted({(p["context"], p["batch"]) for p in points})
    for c in contexts:
        for b in batches:
            place = f"context {tokens(c)}, batch {b}"
            found = families(chosen(points, c, b))
            if not found:
                have = "; ".join(f"{tokens(x)} at {' '.join(str(q) for w, q in there if w == x)}"
                                 for x in dict(there))
                raise ResultError(path, place, "timed points, found none",
                                  f"choose by --context and --batch of: {have}")
            if OURS not in found or len(found) < 2:
                raise ResultError(path, place, f"points of {OURS} and of a rival, found "
                                  + " and ".join(found), "bench both, or choose another panel")


def main(argv=None):
    args = arguments(argv)
    try:
        bench = read(args.bench)
        check(args.bench, bench["points"], args.context, args.batch)
        text = markdown(bench["points"], args.context, args.batch)
        if args.table:
            write_text(args.table, text, "--table")
        else:
            print(text, end="")
        folder, name = os.path.split(args.output)
        stem, kind = os.path.splitext(name)
        style.save(error_figure.draw(bench, args.context, args.batch), folder, stem, (kind[1:],))
    except ResultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
