"""What each switch does by itself: runs that differ in one parameter alone, compared in pairs.

A sweep is a product of lists, so most parameters vary with all others equal many times over. The
base is the value met first in the sweep; figures are geometric means of the ratio to it.
"""

import math

from analysis.naming import show
from analysis.table import Table, number


def pairs(group, name):
    """{value: [(base summary, summary)]} over the runs equal in all but `name`."""
    found, base = {}, None
    families = {}
    for s in group:
        if name not in s.run.parameters:
            continue
        value = show(s.run.parameters[name])
        base = value if base is None else base
        rest = tuple(sorted((k, show(v)) for k, v in s.run.parameters.items() if k != name))
        families.setdefault((rest, s.run.backend, s.run.kv_dtype), {})[value] = s
    for family in families.values():
        for value, s in family.items():
            if value != base and base in family:
                found.setdefault(value, []).append((family[base], s))
    return base, found


def ratio(couples, of):
    """Geometric mean of of(s) / of(base); NaN where a value is not positive."""
    logs = [math.log(of(s) / of(b)) for b, s in couples
            if of(s) > 0 and of(b) > 0 and math.isfinite(of(s)) and math.isfinite(of(b))]
    return math.exp(math.fsum(logs) / len(logs)) if logs else math.nan


def tables(summaries, names):
    """One per trace; none where nothing varies alone."""
    made = []
    for trace in dict.fromkeys(s.run.trace.name for s in summaries):
        mine, lines = [s for s in summaries if s.run.trace.name == trace], []
        for policy in dict.fromkeys(s.run.policy for s in mine):
            group = [s for s in mine if s.run.policy == policy]
            varied = names.varied(policy)
            for name in varied if len(varied) > 1 else []:  # of one alone, the curve says it all
                base, found = pairs(group, name)
                for value, couples in found.items():
                    moved = sum(s.violation_common - b.violation_common for b, s in couples)
                    lines.append([policy, name, f"{base} → {value}", len(couples)] + [
                        number(ratio(couples, of), 3) for of in
                        (lambda s: s.error, lambda s: s.error_p95, lambda s: s.exact_tokens,
                         lambda s: s.bytes_step)] + [number(100 * moved / len(couples), 1)])
        if lines:
            header = ["policy", "parameter", "value", "pairs", "error", "error p95",
                      "exact tokens", "bytes", "violation, points"]
            made.append(Table(header, lines, 3, trace))
    return made
