"""Accuracy against cost as a chart: mean, 95th percentile and worst head side by side."""

import numpy as np

from analysis.axes import COSTS, DENSE_COST, Quantity, log_limits
from analysis.cost_figure import curves, floor_of, placed, series_look
from analysis.interactive import plot
from analysis.naming import Names, pretty
from analysis.pareto import front
from analysis.ranking import MEASURES
from analysis.table import number

ERRORS = [Quantity(name, "Output error (%)", lambda s, of=of: 100 * of(s), floor=0.1) for name, of in MEASURES]
TITLES = ("Mean error", "95th percentile of the error", "Mean of the worst head")
FRONT = dict(color="#c9c9c9", width=7)


def chart(summaries, names, cost):
    """Of the runs of one trace: {"data", "wide", "narrow"}."""
    cost = COSTS[cost]
    drawn = [s for s in summaries if s.run.policy != "dense"]
    by_series = curves(drawn, names.series)
    looks = series_look(by_series)
    limit = max((DENSE_COST[cost.key](s) for s in summaries), default=np.nan)
    left, right = log_limits([cost.of(s) for s in summaries] + [limit])
    values = [error.of(s) for error in ERRORS for s in drawn]
    bottom, top = log_limits(values, floor_of(ERRORS[0], values))
    data = []
    for place, error in enumerate(ERRORS):
        n = str(place + 1) if place else ""
        rivals = [s for s in drawn if not s.run.reads_every_key]
        data.append(
            _line(
                *common_front(rivals, error, cost, left, bottom),
                n,
                name="Pareto front of all",
                line=FRONT,
                group="front",
            )
        )
        if np.isfinite(limit):
            data.append(
                _line(
                    [limit, limit],
                    [bottom, top],
                    n,
                    name="cost of dense",
                    group="dense",
                    line=dict(color="black", width=1, dash="dot"),
                )
            )
        for order, (series, points) in enumerate(by_series.items()):
            data += _series(
                series, points, looks[series], placed(points, error, cost, left, bottom), n, f"s{order}", names
            )
    x = plot.log_axis(cost.label, left, right)
    y = plot.log_axis(ERRORS[0].label, bottom, top)
    wide, narrow = plot.panels(TITLES, [(x, y)] * len(ERRORS), [one["name"] for one in data if one["showlegend"]])
    return {"data": data, "wide": wide, "narrow": narrow}


def common_front(runs, error, cost, left, bottom):
    """The points that no run beats, of those that do not read every key to choose."""
    x, y = [cost.of(s) for s in runs], [error.of(s) for s in runs]
    kept = front(x, np.round(y, 9))
    return [max(x[i], left) for i in kept], [max(y[i], bottom) for i in kept]


def describe(s, names):
    """What hovering tells of a run."""
    told = [f"<b>{plot.text(s.run.title or pretty(s.run.policy))}</b>"]
    parameters = names.parameters(s.run)
    told += [plot.text(parameters, 42)] if parameters else []
    told += [
        f"error: mean {number(100 * s.error, 2)} %, p95 {number(100 * s.error_p95, 2)} %",
        f"worst head {number(100 * s.error_worst_head, 2)} %",
        f"{number(COSTS['bytes'].of(s), 3)} MiB, {number(s.bytes_ratio, 3)} x dense",
        f"{number(s.exact_tokens, 1)} exact tokens, {number(s.clusters, 1)} clusters",
    ]
    return "<br>".join(told)


def _line(x, y, n, name, line, group):
    return dict(
        type="scatter",
        mode="lines",
        x=[float(v) for v in x],
        y=[float(v) for v in y],
        xaxis="x" + n,
        yaxis="y" + n,
        name=name,
        line=line,
        legendgroup=group,
        showlegend=not n,
        hoverinfo="skip",
    )


def _series(series, points, look, places, n, group, names):
    """A line through what no run of the curve beats, with marks; faint marks for the rest."""
    x, y, keep, rest, _ = places
    colour, marker, dash = look
    ours = series[0] == "double_p"
    found = []
    for indices, mode, more in (
        (keep, "lines+markers", dict(size=9, line=dict(color="white", width=1))),
        (rest, "markers", dict(size=7, opacity=0.35)),
    ):
        if not len(indices):
            continue
        own = plot.look(colour, marker, dash, **more)
        own["line"]["width"] = 2.6 if ours else 1.6
        if len(indices) == 1 or mode == "markers":
            mode = "markers"
            del own["line"]
        found.append(
            dict(
                type="scatter",
                mode=mode,
                x=[float(x[i]) for i in indices],
                y=[float(y[i]) for i in indices],
                xaxis="x" + n,
                yaxis="y" + n,
                cliponaxis=False,
                name=plot.text(Names.series_title(series), 38),
                legendgroup=group,
                showlegend=not n and not found,
                customdata=[points[i].run.key + points[i].run.program for i in indices],
                text=[describe(points[i], names) for i in indices],
                hovertemplate="%{text}<extra></extra>",
                **own,
            )
        )
    return found
