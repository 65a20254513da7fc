"""The committed table and figure of what each part of `variant: best` buys, from result files of
configs/ablation_parts.yaml, or of ablation_kinds.yaml:

  doublep run configs/ablation_parts.yaml
  python3 -m analysis.parts RESULT.h5... [--page NAME] [--out FOLDER]

NAME.md: bytes at equal error for every combination of metric, estimate, order and stop; NAME.png:
the way from the paper's rule to ours, one part at a time, and each part alone. NAME is that of the
configuration, ablation_parts unless said.
"""

import argparse
import math
import os
import sys

from analysis import style
from analysis.aggregate import summarise
from analysis.axes import log_limits, log_scale
from analysis.committed import FOLDER
from analysis.errors import ResultError
from analysis.pareto import cost_at, front
from analysis.ranking import MEASURES
from analysis.reader import read
from analysis.results import join
from analysis.table import escape, grid, number

PARTS = ("metric", "estimator", "order", "stop")
OTHERS = ("head_kinds", "promise_to", "recluster_every", "tokens_per_cluster", "value_side",
          "metric_queries", "rho", "objective")
STEPS = {"mass": "p2", "share": "share", "error": "error", "price": "price"}  # what a curve varies
LEVELS = (0.1, 0.05, 0.02)
# The paper's rule with every cluster outside as a term, and what is changed of it.
PAPER = dict(metric="euclidean", estimator="jensen", order="mass", stop="mass")
WAYS = {
    "Mass rule of the paper": {},
    "+ error order, to a share": dict(order="error", stop="share"),
    "+ pooled estimate": dict(order="error", stop="share", estimator="pooled"),
    "+ query metric": dict(order="error", stop="share", estimator="pooled", metric="query"),
    "+ kinds of heads (best)": dict(order="error", stop="share", estimator="pooled", metric="query",
                                    head_kinds="auto"),
    "Promise to every head": dict(order="error", stop="error", estimator="pooled", metric="query",
                                  head_kinds="auto", promise_to="heads"),
    "Query metric alone": dict(metric="query"),
    "Pooled estimate alone": dict(estimator="pooled"),
}


def curves(summaries):
    """{values of PARTS and OTHERS: runs that differ in what the stop is given}."""
    found = {}
    for s in summaries:
        p = s.run.parameters
        found.setdefault(tuple(p.get(name) for name in PARTS + OTHERS), []).append(s)
    return found


def reach(curve, level, of):
    """x dense at which a measure of the error comes down to a level, as a word."""
    found = cost_at([s.bytes_ratio for s in curve], [of(s) for s in curve], level)
    if math.isnan(found.cost):
        return "never"
    return ("≤ " if found.bounded else "") + number(found.cost, 3)


def table(summaries):
    found = curves(summaries)
    shown = [i for i, name in enumerate(OTHERS) if len({key[len(PARTS) + i] for key in found}) > 1]
    lines = []
    for key, curve in sorted(found.items(), key=lambda item: tuple(map(str, item[0]))):
        lines.append([*key[:len(PARTS)], *(key[len(PARTS) + i] for i in shown)]
                     + [reach(curve, level, of) for _, of in MEASURES for level in LEVELS])
    header = [*PARTS, *(OTHERS[i] for i in shown)] + [
        f"{name} {100 * level:g} %" for name, _ in MEASURES for level in LEVELS]
    return grid(header, lines, left=len(PARTS))


def markdown(summaries, page):
    text = ("# What each part of the best setting buys\n\n"
            f"Made by `python3 -m analysis.parts` from the sweep configs/{page}.yaml. Double-P, one "
            "selection per KV head, every cluster outside the refined ones a term, random first centroids. Each "
            "line is a curve over what its stop is given; the figures are bytes as a share of dense attention's "
            "at which the mean error, its 95th percentile, and the mean of the worst head come down to a level. "
            "≤: the cheapest run errs less already.\n")
    for trace in dict.fromkeys(s.run.trace.name for s in summaries):
        mine = [s for s in summaries if s.run.trace.name == trace]
        text += f"\n## {escape(trace)}\n\n" + table(mine)
    return text


def way(summaries, changed):
    """The runs of one way, at 16 tokens per cluster and otherwise at the defaults, by bytes."""
    want = dict(head_kinds="one", promise_to="group") | PAPER | changed | dict(
        tokens_per_cluster=16, value_side="shifted", metric_queries=64, rho=0.3, recluster_every=0)
    mine = [s for s in summaries if all(s.run.parameters.get(k) == v for k, v in want.items())
            and s.run.parameters.get("objective", "squared_error") == "squared_error"]
    kept = front([s.bytes_ratio for s in mine], [s.error for s in mine])
    return [mine[i] for i in kept]


def draw(summaries):
    traces = list(dict.fromkeys(s.run.trace.name for s in summaries))
    fig, axes = style.panels(1, len(traces), style.TEXT_WIDTH, 2.2, share_y=True)
    ways = {name: changed for name, changed in WAYS.items() if way(summaries, changed)}
    everyone = [s for changed in ways.values() for s in way(summaries, changed)]
    low, high = log_limits([100 * s.error for s in everyone])
    left, right = log_limits([100 * s.bytes_ratio for s in everyone])
    handles = []
    for ax, trace in zip(axes.flat, traces):
        mine = [s for s in summaries if s.run.trace.name == trace]
        for i, (name, changed) in enumerate(ways.items()):
            curve = way(mine, changed)
            alone = name.endswith("alone")
            look = dict(color=style.SPARE[i][0] if not name.endswith("(best)") else
                        style.look("double_p")[0], ls=style.line(1) if alone else "-",
                        marker="o", ms=3.4, lw=1.7 if name.endswith("(best)") else 1.1)
            ax.plot([100 * s.bytes_ratio for s in curve], [100 * s.error for s in curve], **look)
            if ax is axes.flat[0]:
                handles.append(style.plt.Line2D([], [], label=name, **look))
        log_scale(ax.xaxis, left, right)
        log_scale(ax.yaxis, low, high)
        ax.set_xlim(left, right)
        ax.set_ylim(low, high)
        ax.grid(True, which="major")
        ax.set_title(trace, loc="left", fontweight="bold")
        ax.set_xlabel("Bytes read (% of dense)")
    axes.flat[0].set_ylabel("Mean output error (%)")
    for ax in list(axes.flat)[1:]:
        ax.tick_params(labelleft=False)
    style.legend_below(fig, handles)
    return fig


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+")
    parser.add_argument("--page", default="ablation_parts")
    parser.add_argument("--out", default=FOLDER)
    args = parser.parse_args(argv)
    try:
        summaries = [summarise(run) for run in join([read(path) for path in args.results]).runs]
        os.makedirs(args.out, exist_ok=True)
        with open(os.path.join(args.out, args.page + ".md"), "w", encoding="utf-8") as file:
            file.write(markdown(summaries, args.page))
        style.save(draw(summaries), args.out, args.page, ("png",))
    except ResultError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
