"""Accuracy against cost: a row of panels per trace, a curve per policy (and per its switches)."""

from collections import Counter

import numpy as np

from analysis import style
from analysis.axes import ACCURACIES, COSTS, DENSE_COST, log_limits, log_scale
from analysis.naming import Names
from analysis.pareto import front

plt = style.plt


def curves(summaries, series_of):
    """{series: summaries}, series of one policy side by side, policies in sweep order."""
    policies = list(dict.fromkeys(s.run.policy for s in summaries))
    found = {}
    for s in sorted(summaries, key=lambda s: policies.index(s.run.policy)):
        found.setdefault(series_of(s.run), []).append(s)
    return found


def series_look(series):
    """{series: (colour, marker, line)}: the policy's colour, shades of it where it has several."""
    seen, looks = Counter(), {}
    for one in series:
        colour, marker = style.look(one[0])
        looks[one] = (style.shade(colour, seen[one[0]]), marker, style.line(seen[one[0]]))
        seen[one[0]] += 1
    return looks


def placed(points, accuracy, cost, left, bottom):
    """(x, y, non-dominated, dominated, the non-dominated above the lower edge): places on the axes, and indices.

    Values a logarithmic axis cannot hold are placed at its lower edge.
    """
    x = np.array([cost.of(s) for s in points])
    y = np.array([accuracy.of(s) for s in points])
    keep = front(x, np.round(y, 9))  # rounding noise is no improvement
    x = np.where(x < left, left, x)
    if accuracy.log:
        y = np.where(y < bottom, bottom, y)
    rest = [i for i in range(len(points)) if i not in keep]
    return x, y, keep, rest, [i for i in keep if y[i] > bottom or not accuracy.log]


def panel(ax, by_series, looks, accuracy, cost, bottom):
    """Dominated points faint, a line through the others; dense as a line where its cost is."""
    everything = [s for points in by_series.values() for s in points]
    limit = max((DENSE_COST[cost.key](s) for s in everything), default=np.nan)
    left, right = log_limits([cost.of(s) for s in everything] + [limit])
    for order, (series, points) in enumerate(by_series.items()):
        if series[0] == "dense":
            continue
        colour, marker, line = looks[series]
        x, y, keep, rest, held = placed(points, accuracy, cost, left, bottom)
        z = 6 if series[0] == "double_p" else 3
        ax.plot(x[rest], y[rest], ls="none", marker=marker, color=colour, alpha=0.3, ms=3.2, mew=0,
                zorder=z - 1, clip_on=False)
        own = dict(color=colour, zorder=z + order / 100, clip_on=False)
        ax.plot(x[held], y[held], ls=line, lw=1.7 if series[0] == "double_p" else 1.1, **own)
        ax.plot(x[keep], y[keep], ls="none", marker=marker, ms=4.6, mew=0.4, mec="white", **own)
    if np.isfinite(limit):
        ax.axvline(limit, color="black", lw=0.8, ls=(0, (1, 1.5)), zorder=1)
    log_scale(ax.xaxis, left, right)
    ax.set_xlim(left, right)


def floor_of(accuracy, values):
    """The accuracy's floor, unless most of the values lie below it."""
    values = [v for v in values if np.isfinite(v) and v > 0]
    return accuracy.floor if sum(v > accuracy.floor for v in values) * 2 >= len(values) else 0.0


def draw(summaries, names=None, accuracies=("output_error",), costs=tuple(COSTS), target=0.95,
         by_entrant=False):
    """The figure: rows are (accuracy, trace), columns are costs; one pair of axes alone puts the
    traces side by side instead. `by_entrant`: one curve for all the switches of an entrant."""
    names = names or Names([s.run for s in summaries])
    series_of = names.entrant_series if by_entrant else names.series
    traces = list(dict.fromkeys(s.run.trace.name for s in summaries))
    looks = series_look(curves(summaries, series_of))
    wide = len(costs) == 1 and len(accuracies) == 1
    cells = [(a, t) for a in accuracies for t in traces]
    columns = min(3, len(traces)) if wide else len(costs)
    rows = -(-len(traces) // columns) if wide else len(cells)
    width = style.TEXT_WIDTH if columns > 1 else style.COLUMN_WIDTH
    fig, grid = style.panels(rows, columns, width, 1.75 if columns > 1 else 2.1, share_y=not wide)
    for spare in list(grid.flat)[len(traces) if wide else rows * columns:]:
        spare.set_axis_off()
    for index, (key, trace) in enumerate(cells):
        accuracy = ACCURACIES[key]
        mine = [s for s in summaries if s.run.trace.name == trace]
        by_series = curves(mine, series_of)
        values = [accuracy.of(s) for s in mine if s.run.policy != "dense"]
        low, high = log_limits(values, floor_of(accuracy, values))
        for column, cost_key in enumerate(costs):
            ax = grid.flat[index] if wide else grid[index, column]
            panel(ax, by_series, looks, accuracy, COSTS[cost_key], low)
            if accuracy.log:
                log_scale(ax.yaxis, low, high)
                ax.set_ylim(low, high)
            else:
                ax.set_ylim(0, 100)
            ax.grid(True, which="major")
            first = column == 0 and (not wide or index % columns == 0)
            label = accuracy.label
            if key == "violation":
                label = f"Steps with covered\nmass < {target:g} (%)"
            ax.set_ylabel(label if first else "")
            if not first and not wide:
                ax.tick_params(labelleft=False)
            if wide or column == 0:
                ax.set_title(trace, loc="left", fontweight="bold",
                             fontsize=min(8.5, 8.5 * 66 / columns / max(1, len(trace))))
            if wide or index % len(traces) == len(traces) - 1:
                ax.set_xlabel(COSTS[cost_key].label)
    legend(fig, curves(summaries, series_of), looks)
    return fig


def legend(fig, by_series, looks):
    handles = []
    for series, points in by_series.items():
        colour, marker, line = looks[series]
        if series[0] != "dense":
            alone = len(points) == len({s.run.trace.id for s in points})
            handles.append(plt.Line2D([], [], color=colour, marker=marker, mec="white", mew=0.4,
                                      ls="none" if alone else line,
                                      label=Names.series_title(series)))
    handles.append(plt.Line2D([], [], color="black", lw=0.8, ls=(0, (1, 1.5)),
                              label="Cost of dense"))
    if len(by_series) < sum(map(len, by_series.values())):
        handles.append(plt.Line2D([], [], color="#555555", marker="o", ls="none", ms=3.2, alpha=0.3,
                                  mew=0, label="Dominated run"))
    style.legend_below(fig, handles)
