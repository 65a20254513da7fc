"""What kind of heads a model has, as maps of layers and heads:

  doublep inspect TRACE.h5 --heads --csv heads.csv
  python3 -m analysis.heads_figure heads.csv --out FOLDER      FOLDER/heads.png and heads.svg
"""

import argparse
import csv
import os
import sys

import numpy as np
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.patches import Patch

from analysis import style
from analysis.axes import log_scale
from analysis.errors import ResultError
from analysis.heat_figure import ticks

plt = style.plt
NUMBERS = ("tokens_95", "logit_variance", "key_rank", "query_rank", "drift")
ESTIMATES = {"jensen": "#BBBBBB", "second_order": "#56B4E9", "pooled": "#D55E00"}
MAPS = (  # (column, title, logarithmic)
    ("tokens_95", "Tokens for 95 % of the mass", True),
    ("logit_variance", "Variance of a cluster's logits", True),
    ("best", "Best estimate of cluster mass", False),
    ("key_rank", "Keys in clusters: rank / dimension", False),
    ("query_rank", "Queries: effective rank", True),
    ("drift", "Drift of the query metric", False),
)
COLUMNS = 3
WIDE = 4  # variance of logits beyond which no estimate from moments holds


def read(path):
    """[{column: number or word}], a row a head."""
    remedy = "make it with `doublep inspect TRACE.h5 --heads --csv`"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultError(path, "", f"a readable CSV file ({error})", remedy)
    missing = [n for n in ("layer", "head", "best", *NUMBERS) if not rows or n not in rows[0]]
    if missing:
        raise ResultError(path, "", f"rows with the columns {', '.join(missing)}", remedy)
    try:
        if any(None in row.values() for row in rows):
            raise ValueError("a row is cut short")
        return [{"layer": int(row["layer"]), "head": int(row["head"]), "best": row["best"],
                 **{name: float(row[name] or "nan") for name in NUMBERS}} for row in rows]
    except (TypeError, ValueError) as error:
        raise ResultError(path, "", f"numbers ({error})", remedy)


def matrix(rows, of):
    """(layers, heads, [layers, heads] of one value); NaN where there is none."""
    layers, heads = (sorted({row[name] for row in rows}) for name in ("layer", "head"))
    values = np.full((len(layers), len(heads)), np.nan)
    for row in rows:
        values[layers.index(row["layer"]), heads.index(row["head"])] = of(row)
    return layers, heads, values


def draw(rows):
    layers, heads, _ = matrix(rows, lambda row: 0)
    gap, left, right = 0.3, 0.42, 0.1
    width = (style.TEXT_WIDTH - left - right - (COLUMNS - 1) * gap) / COLUMNS
    height = float(np.clip(width * len(layers) / len(heads), 0.35, 3.0))
    above, below = 0.24, 0.66  # of a row of maps: its titles; its numbers and colour bars
    lines = len(MAPS) // COLUMNS
    fine = min(1.0, 16 / max(len(layers), len(heads)))  # of what is drawn in and between cells
    total = lines * (above + height + below)
    fig = plt.figure(figsize=(style.TEXT_WIDTH, total))
    for i, (name, title, logarithmic) in enumerate(MAPS):
        line, column = divmod(i, COLUMNS)
        x, y = left + column * (width + gap), total - (line + 1) * (above + height + below) + below
        place = lambda x, y, w, h: fig.add_axes(
            [x / style.TEXT_WIDTH, y / total, w / style.TEXT_WIDTH, h / total])
        ax = place(x, y, width, height)
        ax.set_title(title, fontsize=7.5)
        ax.set_facecolor("#EEEEEE")
        ticks(ax, layers, heads, bottom=True, left=column == 0)
        ax.set_xlabel("Head", labelpad=1, fontsize=7)
        if column == 0:
            ax.set_ylabel("Layer", labelpad=1, fontsize=7)
        ax.set_xticks(np.arange(0.5, len(heads) - 1), minor=True)
        ax.set_yticks(np.arange(0.5, len(layers) - 1), minor=True)
        ax.tick_params(which="minor", length=0)
        ax.grid(which="minor", color="white", linewidth=0.5 * fine)
        if name == "best":
            _words(ax, rows, height, 2.2 * fine)
        else:
            _numbers(ax, place(x, y - 0.44, width, 0.07), matrix(rows, lambda r: r[name])[2],
                     logarithmic)
    return fig


def _words(ax, rows, height, dot):
    names = list(ESTIMATES)
    values = matrix(rows, lambda r: names.index(r["best"]) if r["best"] in names else np.nan)[2]
    ax.imshow(np.ma.masked_invalid(values), vmin=0, vmax=len(names) - 1, aspect="auto",
              cmap=ListedColormap(list(ESTIMATES.values())), interpolation="nearest")
    wide = matrix(rows, lambda r: r["logit_variance"])[2] > WIDE
    ax.plot(*np.nonzero(wide.T), ls="none", marker="o", ms=dot, mew=0, color="black")
    handles = [Patch(color=colour, label=name.replace("_", " ")) for name, colour in ESTIMATES.items()]
    handles.append(plt.Line2D([], [], ls="none", marker="o", ms=2.2, mew=0, color="black",
                              label=f"variance > {WIDE}"))
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.33 / height), ncol=2,
              borderaxespad=0, fontsize=6.5, handlelength=0.9, handletextpad=0.35, columnspacing=0.9)


def _numbers(ax, bar_axes, values, logarithmic):
    found = values[np.isfinite(values) & ((values > 0) | (not logarithmic))]
    if not len(found):
        norm = Normalize(0, 1)
    elif logarithmic:
        norm = LogNorm(found.min(), max(found.max(), 1.5 * found.min()))
    else:
        norm = Normalize(0, 1 if found.max() > 0.5 else np.ceil(found.max() * 20) / 20 or 1)
    image = ax.imshow(np.ma.masked_invalid(values), norm=norm, cmap="viridis", aspect="auto",
                      interpolation="nearest")
    bar = ax.figure.colorbar(image, cax=bar_axes, orientation="horizontal")
    bar.outline.set_visible(False)
    bar_axes.tick_params(length=1.5, pad=1.5, labelsize=6.5)
    if isinstance(norm, LogNorm):
        log_scale(bar_axes.xaxis, norm.vmin, norm.vmax)
        bar.minorticks_off()
    else:
        bar.set_ticks(np.linspace(norm.vmin, norm.vmax, 3))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("heads", metavar="HEADS.csv")
    parser.add_argument("--out", required=True, metavar="FOLDER")
    options = parser.parse_args(argv)
    try:
        rows = read(options.heads)
        os.makedirs(options.out, exist_ok=True)
        for path in style.save(draw(rows), options.out, "heads"):
            print(path)
    except (ResultError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
