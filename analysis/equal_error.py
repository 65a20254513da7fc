"""How long each rival of Double-P takes at Double-P's output error, from timed decode steps."""

import math
from dataclasses import dataclass

from analysis.bench_file import tokens
from analysis.naming import pretty
from analysis.pareto import cost_at, front
from analysis.table import grid, number

OURS = "double_p"

EXACT, AT_LEAST, AT_MOST = "=", "≥", "≤"

HOW_READ = f"""\
Times are of one decode step of one layer, in µs; error is the mean relative output error to dense.
Each line is a point of Double-P's frontier, its time and error as measured. A rival's time is that
at the same error, interpolated between two neighbouring points of its own frontier (linear in log
error and log time). The ratio is the rival's time over Double-P's: above 1, Double-P is faster.

- `{AT_LEAST} T, not below E`: no point of the rival was measured with an error this low. E is its
  lowest, and T that point's time: to come down further takes at least as long, so the ratio is a
  lower bound.
- `{AT_MOST} T, at E`: the rival's fastest point, of time T, is at a lower error E already. A
  setting that errs as much as Double-P does here was not measured and might be faster, so the ratio
  is an upper bound.

Both bounds suppose that settings of a rival that were not measured gain no error for free: one that
errs less than its frontier's points is not faster than they are.
"""


@dataclass(frozen=True)
class Match:
    """A rival at one error of Double-P."""

    time: float  # µs
    mark: str = EXACT  # whether the rival's true time is this, at least or at most this
    error: float = math.nan  # of the point that bounds it


def chosen(points, context, batch):
    return [p for p in points if (p["context"], p["batch"]) == (context, batch)]


def families(points):
    """{policy: its points}, in the order of the file. Dense has no error to trade, and streaming sees
    no middle of the context: what searches nothing is no curve. Nor is a packed cache (fp8) part of
    one: the device reads it for Double-P and dense alone, and a rival would gain as much."""
    found = {}
    for point in points:
        if point["search"] != "none" and not packed(point):
            found.setdefault(point["policy"], []).append(point)
    return found


def packed(point):
    return point.get("kv_dtype", "bf16") == "fp8"


def dense_times(points):
    """Of dense attention, without error."""
    return [p["step_us"] for p in points if p["policy"] == "dense" and not packed(p)]


def frontier(points):
    """The points that none of them beats in time and error, fastest first."""
    return [points[i] for i in front(*_axes(points))]


def _axes(points):
    return [p["step_us"] for p in points], [p["error_mean"] for p in points]


def match(rival, error):
    """The rival's `Match` at an error. Any two neighbours of its frontier are interpolated, however
    far apart: to take the slower one's time instead would flatter Double-P."""
    reach = cost_at(*_axes(rival), error, widest_gap=math.inf)
    if not reach.points:
        best = frontier(rival)[-1]
        return Match(best["step_us"], AT_LEAST, best["error_mean"])
    last = rival[reach.points[-1]]["error_mean"]
    if len(reach.points) == 1 and last < error:  # its fastest, or an exact one: no log of error 0
        return Match(reach.cost, AT_MOST, last)
    return Match(reach.cost)


def cells(time, found):
    """(time at this error, ratio) as the table writes them."""
    shown, ratio = number(found.time, 1), number(found.time / time, 2)
    if found.mark == EXACT:
        return [shown, ratio]
    word = "not below" if found.mark == AT_LEAST else "at"
    return [f"{found.mark} {shown}, {word} {number(found.error, 4)}", f"{found.mark} {ratio}"]


def settings(label):
    """'double_p:p1=0.95,p2=0.70' -> 'p1=0.95 p2=0.70'."""
    return label.partition(":")[2].replace(",", " ") or "default"


def markdown(points, contexts, batches):
    """How to read it, then a heading and a table per context and batch."""
    parts = [HOW_READ]
    for context in contexts:
        for batch in batches:
            found = families(chosen(points, context, batch))
            ours, rivals = found.pop(OURS), found
            header = ["Double-P", "µs", "error"]
            for name in rivals:
                header += [f"{pretty(name)}, µs", "ratio"]
            lines = []
            for point in frontier(ours):
                time, error = point["step_us"], point["error_mean"]
                line = [settings(point["label"]), number(time, 1), number(error, 4)]
                for rival in rivals.values():
                    line += cells(time, match(rival, error))
                lines.append(line)
            parts.append(f"### {tokens(context)}, batch {batch}\n\n" + grid(header, lines))
    return "\n".join(parts)
