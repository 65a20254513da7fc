"""How many tokens a policy attends exactly: over all heads and steps, and head by head.

A top-k policy spends the same everywhere; a top-p policy is worth its name where heads differ.
"""

import numpy as np

from analysis import style
from analysis.axes import log_limits, log_scale
from analysis.naming import Names, pretty
from analysis.cost_figure import series_look

plt = style.plt
MOST_BOXES = 48
ROWS_A_PAGE = 8


def ecdf(values):
    """(x, share of values <= x), one point per distinct value."""
    x, count = np.unique(values, return_counts=True)
    return x, np.cumsum(count) / len(values)


def draw_ecdf(chosen, names):
    """A panel per trace: share of (layer, head, step) that needs at most so many exact tokens."""
    traces = list(dict.fromkeys(s.run.trace.name for s in chosen))
    looks = series_look(dict.fromkeys(names.series(s.run) for s in chosen))
    columns = min(3, len(traces))
    rows = -(-len(traces) // columns)
    width = style.TEXT_WIDTH if columns > 1 else style.COLUMN_WIDTH
    fig, grid = style.panels(rows, columns, width, 1.9 if columns > 1 else 2.1, share_y=True)
    for spare in list(grid.flat)[len(traces):]:
        spare.set_axis_off()
    for index, trace in enumerate(traces):
        ax, everything = grid.flat[index], []
        for s in (s for s in chosen if s.run.trace.name == trace):
            x, y = ecdf(np.maximum(s.run.rows["exact_tokens"], 1))
            everything += [x[0], x[-1]]
            colour, marker, line = looks[names.series(s.run)]
            z = 6 if s.run.policy == "double_p" else 3
            ax.step(np.r_[x[0], x], np.r_[0, 100 * y], where="post", color=colour, ls=line, lw=1.2,
                    zorder=z)
            ax.plot(np.median(s.run.rows["exact_tokens"]), 50, marker=marker, color=colour,
                    mec="white", mew=0.4, ms=5, zorder=z + 1)
        low, high = log_limits(everything, pad=0.03)
        log_scale(ax.xaxis, low, high)
        ax.set_xlim(low, high)
        ax.set_ylim(0, 100)
        ax.grid(True, which="major")
        ax.set_title(trace, loc="left", fontweight="bold")
        if index >= len(traces) - columns:
            ax.set_xlabel("Exact tokens")
        if index % columns == 0:
            ax.set_ylabel("Share of heads and steps (%)")
        else:
            ax.tick_params(labelleft=False)
    handles = [plt.Line2D([], [], color=c, marker=m, ls=l, mec="white", mew=0.4,
                          label=Names.series_title(series)) for series, (c, m, l) in looks.items()]
    style.legend_below(fig, handles)
    return fig


def groups(rows):
    """[(label, layer, exact tokens)]: per (layer, head), or per layer where heads are too many."""
    pairs = np.unique(np.stack([rows["layer"], rows["head"]], axis=1), axis=0)
    if len(pairs) > MOST_BOXES:
        return [(str(layer), layer, rows["exact_tokens"][rows["layer"] == layer])
                for layer in np.unique(rows["layer"])]
    return [(str(head), layer,
             rows["exact_tokens"][(rows["layer"] == layer) & (rows["head"] == head)])
            for layer, head in pairs]


def draw_boxes(chosen, names):
    """Pages of one trace: a row per policy, a box per head over the steps (whiskers: 5-95 %)."""
    return [_page(chosen[i:i + ROWS_A_PAGE], names, chosen)
            for i in range(0, len(chosen), ROWS_A_PAGE)]


def _page(chosen, names, everyone):
    fig, grid = style.panels(len(chosen), 1, style.TEXT_WIDTH, 0.62, share_y=True, above=0.2,
                             between=0.24)
    tokens = [s.run.rows["exact_tokens"] for s in everyone]
    low, high = log_limits([max(edge, 1) for t in tokens for edge in (t.min(), t.max())], pad=0.1)
    for y, s in enumerate(chosen):
        ax, parts = grid[y, 0], groups(s.run.rows)
        colour = style.look(s.run.policy)[0]
        boxes = ax.boxplot([np.maximum(values, 1) for _, _, values in parts], whis=(5, 95),
                           showfliers=False, widths=0.6, patch_artist=True,
                           medianprops=dict(color=colour, lw=1.6, solid_capstyle="butt"),
                           whiskerprops=dict(color=colour, lw=0.8), capprops=dict(lw=0),
                           boxprops=dict(facecolor=style.shade(colour, 3), edgecolor=colour,
                                         lw=0.7))
        for artist in boxes["medians"] + boxes["boxes"]:
            artist.set_clip_on(False)
        log_scale(ax.yaxis, low, high)
        ax.set_ylim(low, high)
        ax.grid(True, axis="y", which="major")
        ax.set_title(pretty(s.run.policy), loc="left", fontweight="bold", fontsize=7.5, pad=3)
        ax.set_title(" ".join(names.short(s.run)), loc="right", fontsize=6.5, pad=3, color="#333333")
        _label(ax, parts, last=y == len(chosen) - 1)
    fig.text(0.1 / style.TEXT_WIDTH, 0.5, "Exact tokens", rotation=90, va="center", ha="center",
             fontsize=plt.rcParams["axes.labelsize"])
    return fig


def _label(ax, parts, last):
    ax.tick_params(axis="x", length=0)
    layers = [layer for _, layer, _ in parts]
    per_head = len(set(layers)) < len(layers) or len(parts) == 1
    edges = [i + 0.5 for i in range(1, len(parts)) if layers[i] != layers[i - 1]]
    if per_head:
        for edge in edges:
            ax.axvline(edge, color="#888888", lw=0.5)
    ax.set_xticks(range(1, len(parts) + 1), [label for label, _, _ in parts] if last else [])
    if last and per_head:
        starts = [0.5] + edges + [len(parts) + 0.5]
        for layer, a, b in zip(dict.fromkeys(layers), starts, starts[1:]):
            ax.annotate(f"layer {layer}", ((a + b) / 2, 0), (0, -17), va="top", ha="center",
                        xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=7)
        ax.set_xlabel("Query head", labelpad=14)
    elif last:
        ax.set_xlabel("Layer (all heads and steps)")
