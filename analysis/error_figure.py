"""Decode-step time against output error: a frontier per policy, a panel per context and batch."""

import numpy as np
from matplotlib.ticker import LogLocator

from analysis import style
from analysis.axes import log_limits, log_scale
from analysis.bench_file import setup, tokens
from analysis.equal_error import OURS, chosen, dense_times, families, frontier
from analysis.naming import pretty

plt = style.plt
DENSE_LINE = dict(color="black", lw=0.8, ls=(0, (1, 1.5)))


def positions(points):
    return np.array([(p["error_mean"], p["step_us"]) for p in points]).T


def panel(ax, points):
    """Measured points of each family, those off its frontier faint; straight lines between frontier
    points, which on these axes are the table's interpolation."""
    for name, mine in families(points).items():
        colour, marker = style.look(name)
        own = dict(color=colour, zorder=6 if name == OURS else 3)
        edge = frontier(mine)
        rest = [p for p in mine if p not in edge]
        if rest:
            ax.plot(*positions(rest), ls="none", marker=marker, alpha=0.35, ms=3.2, mew=0, **own)
        ax.plot(*positions(edge), lw=1.7 if name == OURS else 1.1, marker=marker, ms=5, mew=0.4,
                mec="white", **own)
    for time in dense_times(points):
        ax.axhline(time, zorder=1, **DENSE_LINE)


def limits(points):
    """Of both axes over all that a panel, or panels that share an axis, will show."""
    drawn = [p for mine in families(points).values() for p in mine]
    return (log_limits([p["error_mean"] for p in drawn]),
            log_limits([p["step_us"] for p in drawn] + dense_times(points)))


def draw(bench, contexts, batches):
    """Rows are batches, columns contexts. All panels share the range of errors, and those of a row
    the range of times, so that heights compare along it."""
    points = bench["points"]
    fig, grid = style.panels(len(batches), len(contexts), style.TEXT_WIDTH, 1.9, share_y=True,
                             above=0.58, between=0.34)
    here = {(c, b): chosen(points, c, b) for c in contexts for b in batches}
    errors, _ = limits([p for some in here.values() for p in some])
    for row, batch in enumerate(batches):
        _, times = limits([p for c in contexts for p in here[c, batch]])
        for column, context in enumerate(contexts):
            ax = grid[row, column]
            panel(ax, here[context, batch])
            for axis, span in ((ax.xaxis, errors), (ax.yaxis, times)):
                log_scale(axis, *span)
                axis.set_minor_locator(LogLocator(subs=range(2, 10)))  # few fit a label
            ax.set(xlim=errors, ylim=times)
            ax.grid(True, which="major")
            ax.set_title(f"{tokens(context)}, batch {batch}", loc="left", fontweight="bold")
            ax.tick_params(labelleft=column == 0, labelbottom=row == len(batches) - 1)
            if column == 0:
                ax.set_ylabel("Decode step of a layer (µs)")
            if row == len(batches) - 1:
                ax.set_xlabel("Mean output error relative to dense")
    note = "Lower left is better. Faint points: beaten by another setting of the same policy."
    fig.text(0.5, 0.995, f"{setup(bench)}\n{note}", ha="center", va="top", fontsize=7.5)
    shown = families([p for some in here.values() for p in some])
    names = sorted(shown, key=lambda name: name != OURS)  # ours first, the rest as in the file
    handles = [plt.Line2D([], [], color=style.look(n)[0], marker=style.look(n)[1], mec="white",
                          mew=0.4, lw=1.7 if n == OURS else 1.1, label=pretty(n)) for n in names]
    handles.append(plt.Line2D([], [], label="Dense", **DENSE_LINE))
    style.legend_below(fig, handles)
    return fig
