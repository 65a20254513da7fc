"""Where a policy loses in a model: rows of experiments/loss_by_layer.py as a table and a picture.

  python3 -m analysis.loss_by_layer ROWS.jsonl... --out FOLDER

loss_by_layer.md: the layers that cost most when the policy has them alone, and the heads with the largest error;
loss_by_layer.png: both for every layer and head.
"""

import argparse
import os
import sys

import numpy as np
from matplotlib.colors import LogNorm

from analysis import style
from analysis.answers import loss_header
from analysis.axes import log_limits, log_scale
from analysis.closed_loop import rows_of
from analysis.errors import ResultError
from analysis.table import grid, number

SHOWN = 5  # layers and heads of a policy in the table


class Loss:
    """A policy's rows of one model: means over its questions. layers [n]; alone [n], nats, NaN where no row has it;
    errors [n, heads]."""

    def __init__(self, name, rows):
        self.name, self.questions = name, len(rows)
        self.layers = sorted(map(int, rows[0]["errors"]))
        self.alone = np.mean([[row["alone"].get(str(layer), np.nan) for layer in self.layers] for row in rows], 0)
        self.errors = np.mean([[row["errors"][str(layer)] for layer in self.layers] for row in rows], 0)
        self.kl, self.bytes_share = (float(np.mean([row[key] for row in rows])) for key in ("kl", "bytes_share"))


def losses(config, rows):
    """{title: [Loss]}: a group for each model, task and length of the rows, and one of all where they are several."""
    groups = {}
    for row in rows:
        groups.setdefault((row["model"], f"{row['task']}, {row['length']} tokens"), []).append(row)
    for model in {row["model"] for row in rows}:
        mine = [row for row in rows if row["model"] == model]
        if sum(key[0] == model for key in groups) > 1:
            groups = {(model, "all questions together"): mine} | groups
    names = [policy["name"] for policy in config["policies"]]
    return {", ".join(key): [Loss(name, found) for name in names
                             if (found := [row for row in here if row["policy"] == name])]
            for key, here in groups.items()}


def line(loss):
    """Cells of the table."""
    heads = np.dstack(np.unravel_index(np.argsort(-loss.errors, axis=None), loss.errors.shape))[0][:SHOWN]
    known = np.isfinite(loss.alone)
    total = max(loss.alone[known].sum(), 1e-300)
    worst = [i for i in np.argsort(-loss.alone) if known[i]][:SHOWN]
    return [loss.name, str(loss.questions), number(loss.bytes_share, 3), number(loss.kl, 4), number(loss.alone[known].sum(), 4) if known.any() else "–",
            ", ".join(f"{loss.layers[i]} ({100 * loss.alone[i] / total:.0f} %)" for i in worst) or "–",
            number(float(loss.errors.mean()), 3), number(float(np.quantile(loss.errors, 0.95)), 3),
            ", ".join(f"{loss.layers[i]}.{h} ({loss.errors[i, h]:.2f})" for i, h in heads)]


HEADER = ["policy", "questions", "bytes", "KL, nats", "sum over layers alone", "layers that cost most alone (share of the sum)",
          "mean error", "p95 of heads", "worst heads: layer.head (error)"]


def page(groups):
    text = ("# Where a policy loses\n\nMade by `python3 -m analysis.loss_by_layer`. KL: of the model's predictions with the policy in "
            "every layer, teacher-forced with its own answer. Alone: with the policy in one layer and dense attention in all others. "
            "Error: of a head's output, ||output - dense|| / ||dense||, mean over the answer's tokens.\n")
    for title, found in groups.items():
        text += f"\n## {title}\n\n" + grid(HEADER, [line(loss) for loss in found], left=1) + "\n"
    return text


def picture(title, found):
    """Columns: policies. Above: each layer alone, where that was measured; below: heads."""
    width = max(style.TEXT_WIDTH, 2.6 * len(found))
    measured = any(np.isfinite(loss.alone).any() for loss in found)
    fig, axes = style.panels(2 if measured else 1, len(found), width, 1.5, share_y=True, left=0.7, below=0.9, above=0.45)
    alone = np.concatenate([np.maximum(loss.alone[np.isfinite(loss.alone)], 1e-7) for loss in found])
    errors = np.concatenate([np.maximum(loss.errors.ravel(), 1e-3) for loss in found])
    scale = LogNorm(errors.min(), max(errors.max(), 2 * errors.min()))
    for column, loss in enumerate(found):
        lower = axes[-1][column]
        axes[0][column].set_title(loss.name)
        if measured:
            upper = axes[0][column]
            upper.plot(loss.layers, np.maximum(loss.alone, 1e-7), "o", ms=3, color="#D55E00")
            log_scale(upper.yaxis, *log_limits(alone))
            upper.set_ylim(*log_limits(alone))
            upper.grid(True, axis="y", which="major")
        drawn = lower.imshow(np.maximum(loss.errors.T, 1e-3), aspect="auto", norm=scale, cmap="viridis_r", interpolation="nearest",
                             extent=(loss.layers[0] - 0.5, loss.layers[-1] + 0.5, loss.errors.shape[1] - 0.5, -0.5))
        lower.set_xlabel("Layer")
        for axis in axes[:, column]:
            axis.set_xlim(loss.layers[0] - 0.5, loss.layers[-1] + 0.5)
            axis.tick_params(labelleft=column == 0)
    if measured:
        axes[0][0].set_ylabel("KL with this\nlayer alone (nats)")
    axes[-1][0].set_ylabel("Query head")
    tall = fig.get_figheight()
    bar = fig.colorbar(drawn, cax=fig.add_axes([0.3, 0.38 / tall, 0.4, 0.08 / tall]), orientation="horizontal")
    log_scale(bar.ax.xaxis, scale.vmin, scale.vmax)
    bar.set_label("Error of a head's output", labelpad=1)
    fig.text(0.5, 1 - 0.1 / tall, title, ha="center", fontsize=8)
    return fig


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python3 -m analysis.loss_by_layer", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", metavar="ROWS.jsonl")
    parser.add_argument("--out", required=True, metavar="FOLDER")
    options = parser.parse_args(arguments)
    try:
        groups = {}
        for config, rows in rows_of(options.rows, loss_header, "experiments/loss_by_layer.py"):
            groups |= losses(config, rows)
        if not groups:
            raise ResultError(options.rows[0], "", "a row", "let experiments/loss_by_layer.py go on")
        os.makedirs(options.out, exist_ok=True)
        with open(os.path.join(options.out, "loss_by_layer.md"), "w", encoding="utf-8") as file:
            file.write(page(groups))
        title, found = next(iter(groups.items()))
        style.save(picture(title, found), options.out, "loss_by_layer", formats=("png",))
    except (ResultError, OSError) as error:
        print(f"loss_by_layer: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
