"""Where a policy fails: recall, covered mass, violation and error per layer and head.

A row per policy (its representative run), a column per metric. Light is good in every column.
"""

import textwrap

import numpy as np
from matplotlib.colors import LogNorm, Normalize

from analysis import style
from analysis.aggregate import below, head_map
from analysis.axes import log_scale
from analysis.naming import pretty

plt = style.plt
ROWS_A_PAGE = 9


def metrics(target):
    """(title, values of the rows, colour map): viridis runs from dark to light."""
    return (
        ("Exact mass", lambda rows: rows["exact_mass"], "viridis"),
        ("Covered mass", lambda rows: rows["covered_mass"], "viridis"),
        ("Violation rate (%)", lambda rows: 100.0 * below(rows, target), "viridis_r"),
        ("Output error (%)", lambda rows: 100 * rows["output_error"], "viridis_r"),
    )


def draw(chosen, names, target=0.95):
    """Pages (figures) of at most ROWS_A_PAGE policies, all of one trace, on the same scales."""
    maps = [[head_map(s.run.rows, of(s.run.rows)) for _, of, _ in metrics(target)] for s in chosen]
    scales = [scale_of(column, [row[column][2] for row in maps]) for column in range(4)]
    pages = range(0, len(chosen), ROWS_A_PAGE)
    return [_page(chosen[i:i + ROWS_A_PAGE], maps[i:i + ROWS_A_PAGE], scales, names, target)
            for i in pages]


def scale_of(column, matrices):
    values = np.concatenate([matrix[np.isfinite(matrix)] for matrix in matrices])
    if column == 2:
        return Normalize(0, 100)
    if not len(values):
        return Normalize(0, 1)
    if column < 2:  # mass: as much of [0, 1] as is needed
        return Normalize(min(np.floor(values.min() * 10) / 10, 0.9), 1)
    low = max(values.min(), 0.1)
    return LogNorm(low, max(values.max(), 2 * low))


def _page(chosen, maps, scales, names, target):
    layers, heads, _ = maps[0][0]
    left, right, below_, above, gap = 1.42, 0.08, 0.62, 0.24, 0.12
    width = (style.TEXT_WIDTH - left - right - 3 * gap) / 4
    words = [_wrap(names.short(s.run)) for s in chosen]
    room = 0.16 + 0.1 * max(map(len, words))
    height = max(float(np.clip(width * len(layers) / len(heads), 0.4, 1.35)), min(room, 1.35))
    total = above + below_ + len(chosen) * (height + gap) - gap
    fig, grid = plt.subplots(len(chosen), 4, figsize=(style.TEXT_WIDTH, total), squeeze=False)
    fig.subplots_adjust(left=left / style.TEXT_WIDTH, right=1 - right / style.TEXT_WIDTH,
                        bottom=below_ / total, top=1 - above / total,
                        wspace=gap / width, hspace=gap / height)
    for y, (s, row) in enumerate(zip(chosen, maps)):
        for x, (title, _, colours) in enumerate(metrics(target)):
            ax = grid[y, x]
            image = ax.imshow(np.ma.masked_invalid(row[x][2]), norm=scales[x], cmap=colours,
                              aspect="auto", interpolation="nearest")
            ax.set_facecolor("#CCCCCC")
            ticks(ax, row[x][0], row[x][1], bottom=y == len(chosen) - 1, left=x == 0)
            if y == 0:
                ax.set_title(title, fontsize=7.5)
            if y == len(chosen) - 1:
                ax.set_xlabel("Head", labelpad=1)
                _bar(fig, ax, image, total)
        _name(grid[y, 0], pretty(s.run.policy), words[y])
    return fig


def _wrap(parts):
    """Lines of a few parameters each, for the margin; never more than it can hold."""
    lines = textwrap.wrap(" ".join(parts), 22, break_on_hyphens=False, break_long_words=False)
    return lines if len(lines) <= 10 else lines[:9] + [lines[9] + " …"]


def ticks(ax, layers, heads, bottom, left):
    step_y, step_x = -(-len(layers) // 5), -(-len(heads) // 8)
    ax.set_yticks(range(0, len(layers), step_y), layers[::step_y] if left else [])
    ax.set_xticks(range(0, len(heads), step_x), heads[::step_x] if bottom else [])
    ax.tick_params(length=1.5, pad=1.5, labelsize=6.5)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _bar(fig, ax, image, total):
    box = ax.get_position()
    bar = fig.colorbar(image, cax=fig.add_axes([box.x0, 0.18 / total, box.width, 0.07 / total]),
                       orientation="horizontal", extend=_beyond(image))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=1.5, pad=1.5, labelsize=6.5)
    if isinstance(image.norm, LogNorm):
        log_scale(bar.ax.xaxis, image.norm.vmin, image.norm.vmax)
    else:
        bar.set_ticks(np.linspace(image.norm.vmin, image.norm.vmax, 3))
    edges = bar.ax.get_xticklabels()
    if edges and not isinstance(image.norm, LogNorm):  # keep the outer numbers inside their column
        edges[0].set_ha("left")
        edges[-1].set_ha("right")


def _beyond(image):
    return "min" if isinstance(image.norm, LogNorm) and image.norm.vmin <= 0.1 else "neither"


def _name(ax, title, lines):
    """Policy in bold and its parameters beneath, left of the row."""
    place = dict(xycoords="axes fraction", textcoords="offset points", ha="left",
                 annotation_clip=False)
    ax.annotate(title, (0, 1), (-97, -1), va="top", fontsize=7.5,
                fontweight="bold", color="black", **place)
    ax.annotate("\n".join(lines), (0, 1), (-97, -11), va="top", fontsize=5.8, color="#333333",
                linespacing=1.15, **place)
    ax.set_ylabel("Layer", fontsize=6.5, labelpad=1)
