"""One run per series to look into: policies are compared where they err alike, not where they
happen to have been run."""

import math

LEVEL = 0.05


def choose(summaries, names, level=LEVEL):
    """The cheapest run (bytes) of each series whose mean output error is at most `level`, else the
    one that errs least. Sweep order of the series; runs without a finite error never stand in."""
    series = {}
    for s in summaries:
        series.setdefault(names.series(s.run), []).append(s)
    return [pick(group, level) for group in series.values()]


def by_trace(summaries, names, level=LEVEL):
    """{trace name: its runs to look into, dense aside}."""
    mine = {}
    for s in summaries:
        mine.setdefault(s.run.trace.name, []).append(s)
    return {trace: [s for s in choose(group, names, level) if s.run.policy != "dense"]
            for trace, group in mine.items()}


def pick(group, level=LEVEL):
    good = [s for s in group if s.error <= level]
    if good:
        return min(good, key=lambda s: (cost(s), s.error))
    return min(group, key=lambda s: s.error if math.isfinite(s.error) else math.inf)


def cost(s):
    return s.bytes_step if math.isfinite(s.bytes_step) else math.inf
