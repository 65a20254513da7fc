"""The committed table of how a promise of error is kept, and what it takes, from result files of
configs/promise.yaml:

  doublep run configs/promise.yaml
  python3 -m analysis.promise RESULT.h5... [--out FOLDER]

promise.md: by trace, the share of steps that were kept, the head that kept least, and the bytes that
a fixed share of the tokens takes to come down to the same mean error, 95th percentile and worst head.
"""

import argparse
import math
import os
import sys

import numpy as np

from analysis.aggregate import head_map, summarise
from analysis.committed import FOLDER
from analysis.errors import ResultError
from analysis.pareto import cost_at
from analysis.ranking import MEASURES
from analysis.reader import read
from analysis.results import join
from analysis.table import escape, grid, number

OF_PROMISES = ("promise_to", "calibration", "calibration_queries", "alpha", "error", "stop", "share")


def setting(run):
    """What a promise and the shares that it is held against have in common."""
    return tuple((k, str(v)) for k, v in sorted(run.parameters.items()) if k not in OF_PROMISES)


def kept(run, times=1):
    """By (layer, head), the share of steps that erred by at most so many times what was promised."""
    within = run.rows["output_error"] <= times * run.target_error
    return head_map(run.rows, within.astype(float))


def share_for(shares, of, level):
    if not shares:
        return "–"  # none of this setting was run
    found = cost_at([s.bytes_ratio for s in shares], [of(s) for s in shares], level)
    if math.isnan(found.cost):
        return "never"
    return ("≤ " if found.bounded else "") + number(found.cost, 3)


def line(s, shares):
    layers, heads, matrix = kept(s.run)
    y, x = np.unravel_index(np.nanargmin(matrix), matrix.shape)
    rows = s.run.rows["output_error"]
    return [number(s.run.target_error, 2), s.run.parameters["promise_to"],
            s.run.parameters["head_kinds"], number(np.mean(rows <= s.run.target_error), 3),
            f"{number(matrix[y, x], 2)} ({layers[y]}.{heads[x]})",
            f"{np.count_nonzero(matrix < 0.9)} of {np.count_nonzero(np.isfinite(matrix))}",
            number(np.mean(rows > 2 * s.run.target_error), 4),
            *(number(of(s), 4) for _, of in MEASURES), number(s.bytes_ratio, 3),
            *(share_for(shares, of, of(s)) for _, of in MEASURES)]


def tables(runs):
    summaries = [summarise(run) for run in runs]
    text = ("# How a promise of error is kept\n\n"
            "Made by `python3 -m analysis.promise` from the sweep configs/promise.yaml: `variant: best` with `stop: error, "
            "calibration: prompt`. *kept*: share of (step, head) that err by at most what was promised; *least head*: "
            "that of the head which kept least, layer.head; *below .9*: heads that kept fewer than nine in ten; "
            "*over twice*: share that err by more than twice as much. Then the errors, the bytes as a share of dense "
            "attention's, and those that a fixed share of the tokens takes to come down to the same mean, 95th "
            "percentile and worst head. ≤: the least share that was run errs less already.\n")
    header = ["promised", "to", "kinds", "kept", "least head", "below .9", "over twice",
              *(name for name, _ in MEASURES), "x dense", *(f"a share's, {name}" for name, _ in MEASURES)]
    for trace in dict.fromkeys(s.run.trace.name for s in summaries):
        mine = [s for s in summaries if s.run.trace.name == trace]
        lines = [line(s, [t for t in mine if t.run.parameters["stop"] == "share"
                          and setting(t.run) == setting(s.run)])
                 for s in mine if math.isfinite(s.run.target_error)]
        text += f"\n## {escape(trace)}\n\n" + grid(header, lines, left=3)
    return text


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+")
    parser.add_argument("--out", default=FOLDER)
    args = parser.parse_args(argv)
    try:
        text = tables(join([read(path) for path in args.results]).runs)
    except ResultError as error:
        print(error, file=sys.stderr)
        return 2
    os.makedirs(args.out, exist_ok=True)
    with open(os.path.join(args.out, "promise.md"), "w", encoding="utf-8") as file:
        file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
