"""Which policy reads least at equal error, and where each of them fails."""

import math
from dataclasses import dataclass

import numpy as np

from analysis.aggregate import below, head_map
from analysis.axes import MIB
from analysis.pareto import cost_at, front
from analysis.table import escape, grid, number

LEVELS = (0.01, 0.02, 0.05)


@dataclass(frozen=True)
class Place:
    """A policy at one error level on one trace."""

    policy: str
    bytes: float  # per layer and step; NaN: not reached
    ratio: float  # to dense
    runs: tuple  # the run, or the two between which it was interpolated
    bounded: bool  # its cheapest run is already better than the level
    least_error: float  # the smallest mean error of any of its runs


def rank(summaries, names, level):
    """Policies of one trace, fewest bytes first; those that do not reach the level last.

    A policy stands where the best of its curves does: nothing is interpolated between runs whose
    switches differ.
    """
    places = []
    for policy in dict.fromkeys(s.run.policy for s in summaries):
        mine = [s for s in summaries if s.run.policy == policy]
        curves = {}
        for s in mine:
            curves.setdefault(names.series(s.run), []).append(s)
        reached = [(cost_at([s.bytes_step for s in curve], [s.error for s in curve], level), curve)
                   for curve in curves.values()]
        reach, curve = min(reached, key=lambda r: (math.isnan(r[0].cost), r[0].cost))
        runs = tuple(curve[i] for i in reach.points)
        least = min((s.error for s in mine if math.isfinite(s.error)), default=math.nan)
        dense = runs[-1].dense_bytes if runs else math.nan
        places.append(Place(policy, reach.cost, reach.cost / dense, runs, reach.bounded, least))

    def order(place):
        reached = math.isfinite(place.bytes)
        return not reached, place.bytes if reached else place.least_error, place.policy

    return sorted(places, key=order)


def ranking_markdown(summaries, names, levels=LEVELS):
    parts = []
    for trace in dict.fromkeys(s.run.trace.name for s in summaries):
        mine = [s for s in summaries if s.run.trace.name == trace]
        for level in levels:
            lines, reached = [], 0
            for place in rank(mine, names, level):
                if math.isfinite(place.bytes):
                    reached += 1
                    how = names.between([s.run for s in place.runs])
                    sign = "≤ " if place.bounded and place.policy != "dense" else ""
                    lines.append([reached, place.policy, sign + number(place.bytes / MIB, 4),
                                  sign + number(place.ratio, 4), how])
                else:
                    lines.append(["–", place.policy, "not reached", "–",
                                  f"least error {number(100 * place.least_error, 2)} %"])
            header = ["rank", "policy", "MiB/step", "x dense", "at"]
            parts.append(f"### {escape(trace)}, output error {100 * level:g} %\n\n"
                         + grid(header, lines, left=5))
    return "\n".join(parts)


def worst(run, values):
    """(layer, head, mean over its steps) of the worst head; None where nothing is finite."""
    layers, heads, matrix = head_map(run.rows, values)
    if not np.isfinite(matrix).any():
        return None
    y, x = np.unravel_index(np.nanargmax(matrix), matrix.shape)
    return int(layers[y]), int(heads[x]), float(matrix[y, x])


def failures_markdown(chosen, names, target=0.95):
    """A line per representative run: its worst head by error and by violation, beside its mean."""
    parts = []
    for trace in dict.fromkeys(s.run.trace.name for s in chosen):
        lines = []
        for s in (s for s in chosen if s.run.trace.name == trace):
            rows = s.run.rows
            error, miss = worst(s.run, rows["output_error"]), worst(s.run, below(rows, target))
            matrix = head_map(rows, below(rows, target))[2]
            over = np.count_nonzero(matrix > 0.05), np.count_nonzero(np.isfinite(matrix))
            lines.append([
                s.run.policy, names.parameters(s.run) or "–", number(100 * s.error, 2),
                number(100 * error[2], 2) if error else "–", _where(error),
                number(100 * s.violation_common, 1),
                number(100 * miss[2], 1) if miss and miss[2] else "–",
                _where(miss if miss and miss[2] else None), f"{over[0]} of {over[1]}"])
        header = ["policy", "parameters", "error %", "worst head %", "layer.head",
                  f"violation % (mass < {target:g})", "worst head %", "layer.head",
                  "heads with > 5 % violation"]
        parts.append(f"### {escape(trace)}\n\n" + grid(header, lines, left=2))
    return "\n".join(parts)


def _where(found):
    return f"{found[0]}.{found[1]}" if found else "–"


def dominated_everywhere(summaries):
    """Policies of which no run is on the common (bytes, error) front of a trace."""
    kept = front([s.bytes_step for s in summaries], [s.error for s in summaries])
    on = {summaries[i].run.policy for i in kept}
    return [p for p in dict.fromkeys(s.run.policy for s in summaries) if p not in on]
