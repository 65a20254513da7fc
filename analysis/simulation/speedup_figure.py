"""Speed-up over dense and over RetroInfer, against context and against batch."""

import numpy as np
from matplotlib.lines import Line2D

from analysis import style
from analysis.simulation.names import curve_names, looks, tokens

BASES = (("dense", "speed-up over dense"), ("retroinfer", "speed-up over RetroInfer"))


def draw(curves, axis, setting_name=""):
    """One row per base; a panel per value of the other axis. `axis`: "context" or "batch"."""
    other = "batch" if axis == "context" else "context"
    curves = [c for c in curves if c.points is not None]
    values = _panel_values(curves, other)
    bases = [(b, t) for b, t in BASES if any(c.policy == b for c in curves)]
    if not values or not bases:
        return None
    fig, grid = style.panels(len(bases), len(values), style.TEXT_WIDTH, 1.75, share_y=True)
    names, look = curve_names(curves), looks(curves)
    hollow = False
    for r, (row, (base, title)) in enumerate(zip(grid, bases)):
        reference = next(c for c in curves if c.policy == base)
        top = 1.0
        for ax, value in zip(row, values):
            for curve in curves:
                if curve is reference:
                    continue
                x, y, outside = _ratio(curve, reference, axis, other, value)
                if len(x):
                    top = max(top, y.max())
                    hollow |= _plot(ax, x, y, outside, *look[curve.label])
            _decorate(ax, axis, other, value, r == 0, r + 1 == len(bases))
        for ax in row:
            ax.set_ylim(0, 1.07 * top)
            ax.axhline(1, color="black", linewidth=0.7, zorder=1)
            if ax is not row[0]:
                ax.set_yticklabels([])
        row[0].set_ylabel(title)
    handles = [Line2D([], [], color=look[k][0], marker=look[k][1], label=n)
               for k, n in names.items()]
    if hollow:
        handles.append(Line2D([], [], color="#555555", marker="o", markerfacecolor="white",
                              linestyle=(0, (2, 1.2)), label="hollow, dashed: extrapolated"))
    style.legend_below(fig, handles)
    if setting_name:
        fig.suptitle(setting_name, y=1.0, fontsize=8.5)
    return fig


def _panel_values(curves, other):
    values = sorted({int(v) for c in curves for v in c.points[other]})
    return values if len(values) <= 4 else [values[i] for i in
                                            np.linspace(0, len(values) - 1, 4).astype(int)]


def _ratio(curve, reference, axis, other, value):
    """(x, speed-up, extrapolated) over the points that both have."""
    def at(c):
        chosen = c.points[(c.points[other] == value) & (c.points["place"] == 0)]
        return {int(p[axis]): p for p in chosen}
    mine, theirs = at(curve), at(reference)
    x = sorted(set(mine) & set(theirs))
    y = np.array([theirs[i]["seconds"] / mine[i]["seconds"] for i in x])
    return x, y, np.array([bool(mine[i]["extrapolated"]) for i in x], dtype=bool)


def _plot(ax, x, y, outside, colour, marker):
    """Solid where measured, dashed and hollow where extrapolated; True where any is."""
    for i in range(len(x) - 1):
        dashed = outside[i] or outside[i + 1]
        ax.plot(x[i:i + 2], y[i:i + 2], color=colour, zorder=2,
                linestyle=(0, (2.5, 1.2)) if dashed else "-")
    for i in range(len(x)):
        ax.plot(x[i], y[i], marker=marker, color=colour, zorder=3, linestyle="none",
                markerfacecolor="white" if outside[i] else colour, markeredgewidth=0.9)
    return bool(outside.any())


def _decorate(ax, axis, other, value, first, last):
    ax.set_xscale("log", base=2)
    ticks = sorted({int(x) for line in ax.lines for x in line.get_xdata()})
    ax.set_xticks(ticks, [tokens(t) if axis == "context" else str(t) for t in ticks])
    ax.minorticks_off()
    ax.grid(True)
    if first:
        ax.set_title(f"{other} {tokens(value) if other == 'context' else value}")
    if last:
        ax.set_xlabel(f"{axis} (tokens)" if axis == "context" else "batch (sequences)")
