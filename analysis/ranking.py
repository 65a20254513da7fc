"""Which policy reads least at equal error, and where each of them fails."""

import math
from dataclasses import dataclass

import numpy as np

from analysis.aggregate import below, head_map
from analysis.pareto import cost_at, front
from analysis.table import Table, number

LEVELS = (0.1, 0.05, 0.02, 0.01)
MEASURES = (  # of a run's error, that is to come down to the level
    ("mean", lambda s: s.error),
    ("p95", lambda s: s.error_p95),
    ("worst head", lambda s: s.error_worst_head),
)
BY_MEAN = MEASURES[0][1]


@dataclass(frozen=True)
class Place:
    """An entrant at one error level on one trace."""

    entrant: str
    bytes: float  # per layer and step; NaN: not reached
    ratio: float  # to dense
    runs: tuple  # the run, or the two between which it was interpolated
    bounded: bool  # its cheapest run is already better than the level
    least_error: float  # the smallest error of any of its runs
    every_key: bool  # it reads every key to choose


# What is drawn, or counted in clusters: nothing lies between two values of it.
NOT_BETWEEN = ("kmeans_seed", "tokens_per_cluster", "clusters", "audit", "iterations")


def one_number_apart(summaries):
    """Lists of runs that differ in one number alone: what lies between two of them can be run too."""
    found = {}
    names = dict.fromkeys(name for s in summaries for name in s.run.parameters)
    for name in names:
        if name in NOT_BETWEEN:
            continue
        values = {s.run.parameters.get(name) for s in summaries
                  if not isinstance(s.run.parameters.get(name), (list, dict))}
        if len(values) > 1 and all(isinstance(v, (int, float)) and not isinstance(v, bool)
                                   for v in values):
            for s in summaries:
                rest = tuple((k, str(v)) for k, v in sorted(s.run.parameters.items()) if k != name)
                found.setdefault((name, s.run.policy, rest, s.run.backend, s.run.kv_dtype),
                                 []).append(s)
    return list(found.values()) or [[s] for s in summaries]


def rank(summaries, names, level, measure=BY_MEAN):
    """Entrants of one trace, fewest bytes first; those that do not reach the level last.

    An entrant stands where the best of its curves does.
    """
    entrants = {}
    for s in summaries:
        entrants.setdefault(names.entrant(s.run), []).append(s)
    places = []
    for entrant, mine in entrants.items():
        reached = [(cost_at([s.bytes_step for s in curve], [measure(s) for s in curve], level), curve)
                   for curve in one_number_apart(mine)]
        reach, curve = min(reached, key=lambda r: (math.isnan(r[0].cost), r[0].cost))
        runs = tuple(curve[i] for i in reach.points)
        least = min((measure(s) for s in mine if math.isfinite(measure(s))), default=math.nan)
        dense = runs[-1].dense_bytes if runs else math.nan
        every_key = any(s.run.reads_every_key for s in runs or mine)
        places.append(Place(entrant, reach.cost, reach.cost / dense, runs, reach.bounded, least,
                            every_key))

    def order(place):
        reached = math.isfinite(place.bytes)
        return not reached, place.bytes if reached else place.least_error, place.entrant

    return sorted(places, key=order)


def ratio(place):
    """How the table writes it: of dense's bytes, or the least error that was reached."""
    if not math.isfinite(place.bytes):
        return f"never ({number(100 * place.least_error, 1)} %)"
    return ("≤ " if place.bounded and place.entrant != "dense" else "") + number(place.ratio, 4)


def build_cost(place):
    """GFLOPs of the index at prefill, per layer; of the dearer of its runs."""
    costs = [float(s.run.layers["index_build_flops"].mean()) for s in place.runs]
    return number(max(costs, default=math.nan) / 1e9, 2)


def tables(summaries, names, levels=LEVELS):
    """One per trace and level."""
    found = []
    for trace in dict.fromkeys(s.run.trace.name for s in summaries):
        mine = [s for s in summaries if s.run.trace.name == trace]
        for level in levels:
            others = [{p.entrant: p for p in rank(mine, names, level, of)} for _, of in MEASURES[1:]]
            lines, reached = [], 0
            for place in rank(mine, names, level):
                numbered = math.isfinite(place.bytes) and not place.every_key
                reached += numbered
                lines.append([reached if numbered else "–",
                              place.entrant + (" †" if place.every_key else ""),
                              ratio(place), *(ratio(other[place.entrant]) for other in others),
                              build_cost(place),
                              names.between([s.run for s in place.runs]) if place.runs else "–"])
            header = ["rank", "policy", *(f"x dense, {name}" for name, _ in MEASURES),
                      "build GFLOP", "at"]
            found.append(Table(header, lines, 2, f"{trace}, output error {100 * level:g} %"))
    return found


def worst(run, values):
    """(layer, head, mean over its steps) of the worst head; None where nothing is finite."""
    layers, heads, matrix = head_map(run.rows, values)
    if not np.isfinite(matrix).any():
        return None
    y, x = np.unravel_index(np.nanargmax(matrix), matrix.shape)
    return int(layers[y]), int(heads[x]), float(matrix[y, x])


def failure_tables(chosen, names, target=0.95):
    """A line per representative run: its worst head by error and by violation, beside its mean."""
    found = []
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
        found.append(Table(header, lines, 2, trace))
    return found


def _where(found):
    return f"{found[0]}.{found[1]}" if found else "–"


def dominated_everywhere(summaries):
    """Policies of which no run is on the common (bytes, error) front of a trace."""
    kept = front([s.bytes_step for s in summaries], [s.error for s in summaries])
    on = {summaries[i].run.policy for i in kept}
    return [p for p in dict.fromkeys(s.run.policy for s in summaries) if p not in on]
