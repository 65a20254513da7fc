"""Does a sweep on the GPU give the CPU's table?

  python3 -m analysis.backends RESULT.h5

Pairs the runs of one result file that differ in nothing but the backend, prints every figure of
both, and ends with status 1 where one lies outside its tolerance, a run has no partner, or there is
no pair at all. The tolerances are those that tests/parity/recorded_test.cpp states: the GPU rounds
keys and values to the run's data type, and clusterings of 16-bit keys differ in single tokens.
"""

import json
import math
import sys

from analysis.aggregate import summarise
from analysis.axes import MIB
from analysis.errors import ResultError
from analysis.reader import read
from analysis.results import join
from analysis.table import grid, number

# figure: (value, digits, relative and absolute tolerance with clusters, and without them)
FIGURES = {
    "error mean": (lambda s: s.error, 5, (0.10, 0.003), (0.05, 0.003)),
    "exact tokens": (lambda s: s.exact_tokens, 3, (0.06, 0), (0.03, 0)),
    "clusters": (lambda s: s.clusters, 2, (0.10, 0.5), (0, 0)),
    "covered mass": (lambda s: s.covered_mass, 6, (0, 0.01), (0, 0.005)),
    "MiB/step": (lambda s: s.bytes_step / MIB, 4, (0.06, 0), (0.03, 0)),
}
WITHOUT_CLUSTERS = ("dense", "streaming", "quest", "twilight")
# Where errors decide, factors are learnt over clusters that differ, and how far a selection goes.
TO_ERROR = {"error mean": 1.5, "exact tokens": 2.5, "MiB/step": 2}
DENSE_ERROR = {"fp32": 1e-5, "fp16": 2e-3, "bf16": 2e-2}  # rounding alone: the CPU has none


def allowed(run, figure, cpu):
    """The largest difference to the CPU's value that is none."""
    _, _, clustered, plain = FIGURES[figure]
    if run.policy == "dense" and figure == "error mean":
        return DENSE_ERROR.get(run.kv_dtype, 0)
    relative, absolute = plain if run.policy in WITHOUT_CLUSTERS else clustered
    # A handful of clusters for a whole group: one that falls apart otherwise weighs more.
    room = 1.5 if run.policy == "retroinfer" and figure in ("error mean", "covered mass") else 1
    if run.parameters.get("stop") == "error":
        room = TO_ERROR.get(figure, 1)
    return room * (relative * abs(cpu) + absolute) + 1e-12  # a sum in another order


def pairs(runs):
    """([(cpu, cuda)], [runs without a partner]), in sweep order."""
    groups = {}
    for run in runs:
        key = (run.trace.id, run.policy, run.kv_dtype, json.dumps(run.parameters, sort_keys=True))
        groups.setdefault(key, {})[run.backend] = run
    found = [(g["cpu"], g["cuda"]) for g in groups.values() if "cpu" in g and "cuda" in g]
    alone = [run for g in groups.values() if not ("cpu" in g and "cuda" in g) for run in g.values()]
    return found, alone


def compare(found):
    """(lines of the table, number of figures outside of their tolerance)."""
    lines, outside = [], 0
    for cpu, cuda in found:
        a, b = summarise(cpu), summarise(cuda)
        for figure, (of, digits, _, _) in FIGURES.items():
            expected, value = of(a), of(b)
            difference, limit = value - expected, allowed(cpu, figure, expected)
            good = math.isfinite(difference) and abs(difference) <= limit
            outside += not good
            lines.append([cpu.trace.name, cpu.label.removesuffix(" cpu"), figure,
                          number(expected, digits), number(value, digits),
                          number(difference, digits), number(limit, digits),
                          "" if good else "outside"])
    return lines, outside


def main(argv):
    if len(argv) != 2:
        print("usage: python3 -m analysis.backends RESULT.h5", file=sys.stderr)
        return 2
    try:
        runs = join([read(argv[1])]).runs
    except ResultError as error:
        print(error, file=sys.stderr)
        return 2
    found, alone = pairs(runs)
    lines, outside = compare(found)
    header = ["trace", "run", "figure", "cpu", "cuda", "difference", "allowed", ""]
    print(grid(header, lines, left=3), end="")
    for run in alone:
        print(f"{run.trace.name}, {run.label}: only on backend {run.backend}")
    print(f"{len(found)} pairs, {outside} figures outside of their tolerance, "
          f"{len(alone)} runs without a partner")
    return 0 if found and not outside and not alone else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
