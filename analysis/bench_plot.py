#!/usr/bin/env python3
"""Plots `doublep bench --json`: decode-step time against context, a line per policy, with the time that
reading dense's bytes at the measured ceiling would take. Optionally beside PyTorch's attention.

    python3 analysis/bench_plot.py bench.json --sdpa sdpa.json --batch 1 -o bench.png
"""
import argparse
import json
import os
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

if __package__ in (None, ""):  # run as a file: the package is the folder above
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from analysis.bench_file import read, setup, tokens  # noqa: E402
from analysis.errors import ResultError  # noqa: E402

# Policies that a reader wants beside each other, and how they are drawn.
LINES = [
    ("dense", "dense", "black", "-"),
    ("quest:budget=4096", "Quest, 4096 tokens", "tab:olive", "--"),
    ("twilight:p=0.95", "Quest + Twilight, p 0.95", "tab:orange", "--"),
    ("retroinfer", "RetroInfer", "tab:green", "--"),
    ("double_p:p1=0.95,p2=0.70", "Double-P 0.95 / 0.70", "tab:blue", "-"),
    ("double_p:p1=0.95,p2=0.70,estimator=second_order,gqa=group_sum",
     "Double-P 0.95 / 0.70, second order, one selection a group", "tab:red", "-"),
]


def series(points, label, batch):
    chosen = [p for p in points if p["label"] == label and p["batch"] == batch]
    chosen.sort(key=lambda p: p["context"])
    return [p["context"] for p in chosen], chosen


def best_of_pytorch(path, batch):
    with open(path, encoding="utf-8") as file:
        points = [p for p in json.load(file)["points"] if p["batch"] == batch]
    contexts = sorted({p["context"] for p in points})
    return contexts, [min(p["step_us"] for p in points if p["context"] == c) for c in contexts]


def draw(axis, bench, batch, sdpa):
    contexts, dense = series(bench["points"], "dense", batch)
    axis.plot(contexts, [1e6 * p["bytes"] / bench["read_ceiling"] for p in dense], color="0.6",
              linewidth=5, alpha=0.5, label="dense's bytes at the read ceiling")
    for policy, label, colour, style in LINES:
        x, points = series(bench["points"], policy, batch)
        if x:
            axis.plot(x, [p["step_us"] for p in points], style, color=colour, marker="o",
                      markersize=3.5, label=label)
    if sdpa:
        x, y = best_of_pytorch(sdpa, batch)
        if x:
            axis.plot(x, y, ":", color="tab:purple", marker="x", label="PyTorch, best of flash, cuDNN")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(contexts, [tokens(c) for c in contexts])
    axis.set_xlabel("context, tokens")
    axis.set_title(f"batch {batch}")
    axis.grid(True, which="major", alpha=0.3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", help="JSON of doublep bench")
    parser.add_argument("--sdpa", help="JSON of experiments/bench/sdpa.py")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("-o", "--output", default="bench.png")
    args = parser.parse_args()
    try:
        bench = read(args.bench)
    except ResultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    figure, axes = plt.subplots(1, len(args.batch), figsize=(5.6 * len(args.batch), 4.9),
                                sharey=False, squeeze=False)
    for axis, batch in zip(axes[0], args.batch):
        draw(axis, bench, batch, args.sdpa)
    axes[0][0].set_ylabel("decode step of one layer, µs")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncol=3, fontsize=8,
                  frameon=False)
    figure.suptitle(f"{setup(bench)}; read ceiling {bench['read_ceiling'] * 1e-9:.0f} GB/s",
                    fontsize=9)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    figure.savefig(args.output, dpi=150)
    return 0


if __name__ == "__main__":
    sys.exit(main())
