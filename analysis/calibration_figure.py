"""Does the error that steps foresee follow the true one? By layer and head, and what a promise adds.

Left: predicted against true error of every step, a colour per query head. Right: per head, how far
the true error lies above the predicted one, and how often the promised error was kept.
"""

import numpy as np

from analysis import style
from analysis.aggregate import predicted_and_true
from analysis.axes import log_limits, log_scale

plt = style.plt
FLOOR = 1e-5  # smaller errors are rounding
LAYERS_A_PAGE = 6
COLOURS = plt.get_cmap("tab20").colors


def choose(summaries):
    """Of one trace, the run to look at: of those that promise an error the one whose promise lies
    nearest to 5 %, kept best (to one step in twenty), then cheapest; else the cheapest of at most
    5 % error whose error is predicted. None where no error is."""
    able = [s for s in summaries if len(predicted_and_true(s.run.rows)[0])]
    promising = [s for s in able if np.isfinite(s.run.target_error)]
    if promising:
        return min(promising, key=lambda s: (round(abs(np.log(s.run.target_error / 0.05)), 6),
                                             max(s.error_violation, 0.05), s.bytes_step))
    good = [s for s in able if s.error <= 0.05]
    return min(good or able, key=lambda s: s.bytes_step if good else s.error, default=None)


def spread(rows):
    """(5th, 50th, 95th) percentile of true over predicted error; NaN where nothing is predicted."""
    predicted, true = predicted_and_true(rows)
    return np.quantile(true / predicted, (0.05, 0.5, 0.95)) if len(true) else np.full(3, np.nan)


def factor(rows):
    """The head's factor, the last one where it changed; NaN where none is promised, all is read, or the
    factor is next to nothing: such a head asks for no refinement, and would only stretch the axis."""
    found = rows["error_factor"][np.isfinite(rows["error_factor"]) & (rows["error_factor"] > 1e-3)]
    return float(found[-1]) if len(found) else float("nan")


def draw(summary):
    """Pages (figures) of at most LAYERS_A_PAGE layers."""
    rows = summary.run.rows
    layers = np.unique(rows["layer"])
    limits = log_limits(np.concatenate(predicted_and_true(rows)), FLOOR)
    return [_page(summary, layers[i:i + LAYERS_A_PAGE], limits)
            for i in range(0, len(layers), LAYERS_A_PAGE)]


def _page(summary, layers, limits):
    fig, grid = style.panels(len(layers), 2, style.TEXT_WIDTH, 2.1, below=0.66, between=0.5)
    for axes, layer in zip(grid, layers):
        rows = summary.run.rows[summary.run.rows["layer"] == layer]
        _scatter(axes[0], rows, layer, limits, summary.run.target_error)
        _heads(axes[1], rows, summary.run.target_error)
    grid[-1, 0].set_xlabel("Predicted error")
    grid[-1, 1].set_xlabel("Query head (steps within the promised error, %)"
                           if np.isfinite(summary.run.target_error) else "Query head")
    marks = [plt.Line2D([], [], color="black", lw=0.8, label="true = predicted"),
             plt.Line2D([], [], color="#555555", lw=2.2, marker="o", ms=4,
                        label="5th, 50th, 95th percentile")]
    if np.isfinite(summary.run.target_error):
        marks[1:1] = [plt.Line2D([], [], color="#D55E00", lw=1, ls="--", label="promised error")]
        marks.append(plt.Line2D([], [], color="#D55E00", ls="none", marker="x", ms=5,
                                label="learnt factor of the stop's prediction"))
    style.legend_below(fig, marks)
    return fig


def _scatter(ax, rows, layer, limits, promised):
    for index, head in enumerate(np.unique(rows["head"])):
        predicted, true = predicted_and_true(rows[rows["head"] == head])
        ax.plot(predicted, true, ls="none", marker=".", ms=2.6, alpha=0.7,
                color=COLOURS[index % len(COLOURS)])
    ax.plot(limits, limits, color="black", lw=0.8)
    if np.isfinite(promised):
        ax.axhline(promised, color="#D55E00", lw=1, ls="--")
    for axis in (ax.xaxis, ax.yaxis):
        log_scale(axis, *limits)
    ax.set(xlim=limits, ylim=limits, ylabel="True error")
    ax.set_title(f"Layer {layer}", loc="left", fontweight="bold")
    ax.grid(True, which="major")


def _heads(ax, rows, promised):
    heads, shown = np.unique(rows["head"]), []
    for place, head in enumerate(heads):
        mine = rows[rows["head"] == head]
        low, middle, high = spread(mine)
        colour = COLOURS[place % len(COLOURS)]
        ax.plot([place, place], [low, high], color=colour, lw=2.2, solid_capstyle="butt")
        ax.plot(place, middle, marker="o", ms=4, color=colour)
        ax.plot(place, factor(mine), marker="x", ms=5, color="#D55E00", ls="none")
        shown += [low, high, factor(mine)]
    ax.axhline(1, color="black", lw=0.8)
    limits = log_limits([*shown, 1.0])
    log_scale(ax.yaxis, *limits)
    ax.set(ylim=limits, xlim=(-0.6, len(heads) - 0.4), ylabel="True / predicted")
    kept = [f"\n{100 * (1 - np.mean(rows['error_violation'][rows['head'] == h] != 0)):.0f}"
            if np.isfinite(promised) else "" for h in heads]
    ax.set_xticks(range(len(heads)), [f"{h}{text}" for h, text in zip(heads, kept)])
    ax.grid(True, axis="y", which="major")
