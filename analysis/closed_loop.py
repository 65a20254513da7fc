"""Questions and text in the loop (rows of experiments/accuracy.py) as pictures, and beside replay.

  python3 -m analysis.closed_loop ROWS.jsonl... [--replay RESULT.h5...] --out FOLDER

closed_loop.png: what every policy loses against the bytes it reads: questions that it no longer solves, of the
tasks that the reference solves, and the divergence of its predictions. With --replay, a sweep whose entries
are titled as the policies of the rows: open_loop.md, how well each figure of replay ranks the policies as the
loop does, also among policies with terms, without, and of one name; and open_loop.png, the best of them
against the divergence.
"""

import argparse
import json
import math
import os
import sys
from dataclasses import dataclass

import numpy as np

from analysis import style
from analysis.aggregate import summarise
from analysis.answers import HELD_OUT, REFERENCE, average, counts, header
from analysis.axes import log_limits, log_scale
from analysis.errors import ResultError
from analysis.reader import read
from analysis.table import grid, number

FIGURES = (  # of replay; more of each is worse
    ("mean error", lambda s: s.error),
    ("p95 of the error", lambda s: s.error_p95),
    ("worst head's error", lambda s: s.error_worst_head),
    ("median error", lambda s: s.error_median),
    ("mass not attended exactly", lambda s: 1 - s.exact_mass),
    ("mass not covered", lambda s: s.missed_mass),
    ("error of log-sum-exp", lambda s: s.lse_error),
)
AIMS = ("p95 of the error", "mass not attended exactly")  # of `doublep tune`, which are held against each other
LEAST = 4  # policies of which an order is asked


def rows_of(paths, header=header, program="experiments/accuracy.py"):
    """[(configuration, rows)] merged by configuration: files of shards join."""
    found = {}
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                first, *rows = [json.loads(line) for line in file if line.endswith("\n")]
            config = first["config"]
            if first | header(config) != first:  # it may say more
                raise ValueError
            found.setdefault(json.dumps(config), (config, []))[1].extend(rows)
        except (OSError, ValueError, KeyError, TypeError):
            raise ResultError(path, "", f"rows of {program}, version 1", "name a file that it wrote")
    return list(found.values())


def mean(rows, name):
    value = average(rows, name)
    return math.nan if value is None else value


@dataclass(frozen=True)
class Point:
    """A policy in the loop on one model at one length (None: at all of them)."""
    name: str
    policy: str
    bytes_share: float
    solved: float  # of the questions that count; NaN: none do
    kl: float      # nats, mean over questions and texts


def counted(rows):
    """Tasks that the reference solves."""
    by_task = {}
    for row in rows:
        if row["policy"] == REFERENCE and row["task"] != HELD_OUT:
            by_task.setdefault(row["task"], []).append(row)
    return {task for task, found in by_task.items() if counts(found)}


def points(config, rows):
    """Of rows of one model and length. The reference comes first."""
    tasks = counted(rows)
    found = []
    for name, policy in [(REFERENCE, "dense")] + [(p["name"], p["policy"]) for p in config["policies"]]:
        mine = [r for r in rows if r["policy"] == name and (r["task"] in tasks or r["task"] == HELD_OUT)]
        if mine:
            found.append(Point(name, policy, mean(mine, "bytes_share"),
                               mean([r for r in mine if r["task"] != HELD_OUT], "solved"), mean(mine, "kl")))
    return found


def rank_correlation(x, y):
    """Spearman's, ties at their mean rank; NaN where either does not vary."""
    def ranks(values):
        values = np.asarray(values, dtype=np.float64)
        return (values[:, None] > values).sum(1) + ((values[:, None] == values).sum(1) - 1) / 2
    a, b = ranks(x), ranks(y)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else math.nan


LEAST_KL = 1e-5  # nats; less is drawn at the lower edge


def scaled(axis, limits):
    log_scale(axis, *limits)
    axis.axes.set(**{f"{axis.axis_name}lim": limits})


def kl_limits(points):
    return log_limits([max(p.kl, LEAST_KL) for p in points])


def picture(groups, out):
    """groups: {title: points}. Upper row: questions, where any counts; lower row: divergence."""
    policies = [p for found in groups.values() for p in found[1:]]
    solved = [100 * p.solved for found in groups.values() for p in found if math.isfinite(p.solved)]
    lines = 2 if solved else 1
    fig, axes = style.panels(lines, len(groups), max(style.TEXT_WIDTH / 2, 2.4 * len(groups)), 1.8, share_y=True,
                             left=0.75, below=0.6, above=0.4)
    handles = {}
    for column, (title, found) in enumerate(groups.items()):
        axes[0][column].set_title(title.replace(", ", "\n"))
        for point in found[1:]:
            colour, marker = style.look(point.policy)
            at = [p.name for p in found[1:] if p.policy == point.policy].index(point.name)
            look = dict(color=style.shade(colour, at), mfc="none" if at >= len(style.SHADES) else None)
            for axis, y in zip(axes[:, column][::-1], (max(point.kl, LEAST_KL), 100 * point.solved)):
                if math.isfinite(y):
                    handles[point.name] = axis.plot(100 * point.bytes_share, y, marker, ls="none", label=point.name,
                                                    **look)[0]
        if solved:
            axes[0][column].axhline(100 * found[0].solved, color="#000000", lw=0.7, ls=":")
            axes[0][column].set_ylim(min(solved) - 3, 103)
        scaled(axes[-1][column].yaxis, kl_limits(policies))
        axes[-1][column].set_xlabel("Bytes read (% of dense)")
        for axis in axes[:, column]:
            scaled(axis.xaxis, log_limits([100 * p.bytes_share for p in policies]))
            axis.grid(True, which="major")
            if column:
                axis.tick_params(labelleft=False)
    if solved:
        axes[0][0].set_ylabel("Questions solved (%)\ndotted: the model itself")
    axes[-1][0].set_ylabel("KL from the model's own\npredictions (nats)")
    style.legend_below(fig, list(handles.values()))
    style.save(fig, out, "closed_loop", formats=("png",))


def replayed(results):
    """{trace's name: {title: Summary}}."""
    found = {}
    for path in results:
        for run in read(path).runs:
            if run.title:
                found.setdefault(run.trace.name, {})[run.title] = summarise(run)
    return found


def correlation(pairs, of):
    """Of [(Summary, Point)]: of a figure of replay with the divergence in the loop."""
    return rank_correlation([of(s) for s, _ in pairs], [p.kl for _, p in pairs])


def verdict(kind, cells, draws=1000):
    """(the figure of the highest mean over cells, what is said of it)."""
    found = {name: [correlation(pairs, of) for pairs in cells] for name, of in FIGURES}
    means = {name: np.mean(r) if np.isfinite(r).all() else -math.inf for name, r in found.items()}
    first = max(means, key=means.get)
    line = f"{kind}: highest on average is {first}, {number(means[first], 2)}"
    above = means[AIMS[0]] - means[AIMS[1]]
    names = [[p.name for _, p in pairs] for pairs in cells]
    if math.isfinite(above) and all(n == names[0] for n in names):  # else the draws would be of different policies
        low, high = np.quantile(differences(cells, draws), [0.025, 0.975])
        line += (f"; {AIMS[0]} less {AIMS[1]} is {number(above, 2)}, in 95 % of draws of as many policies "
                 f"{number(low, 2)} to {number(high, 2)}")
    return first, f"- {line}."


def differences(cells, draws):
    """Of the mean correlations of AIMS, the first's less the second's, over draws of policies with replacement."""
    random, found = np.random.default_rng(0), []
    aims = [dict(FIGURES)[name] for name in AIMS]
    values = [np.array([[aims[0](s), aims[1](s), p.kl] for s, p in pairs]) for pairs in cells]
    for _ in range(draws):
        drawn = random.integers(0, len(values[0]), len(values[0]))
        found.append(np.mean([rank_correlation(v[drawn, 0], v[drawn, 2]) - rank_correlation(v[drawn, 1], v[drawn, 2])
                              for v in values]))
    return [f for f in found if math.isfinite(f)] or [math.nan]


def values_table(trace, by_title, loop):
    """What the correlations are made of, a row a policy."""
    kl = {(group, p.name): p.kl for group, found in loop.items() for p in found}
    groups = [g for g in loop if any((g, title) in kl for title in by_title)]
    head = ["policy", "bytes", "mean error", "p95", "worst head", "attended exactly", "covered"]
    rows = [[title, number(s.bytes_ratio, 3), number(s.error, 4), number(s.error_p95, 3), number(s.error_worst_head, 3),
             number(s.exact_mass, 3), number(s.covered_mass, 3)]
            + [number(kl.get((g, title), math.nan), 4) for g in groups] for title, s in by_title.items()]
    return (f"## {trace}\n\nReplay: bytes as a share of dense's, output error, true mass. In the loop: KL, nats.\n\n"
            + grid(head + [f"KL, {g}" for g in groups], rows))


def kinds(pairs):
    """{kind of policy: its pairs}: all, with and without terms, and the settings of one policy, where there are LEAST
    of them. A figure that gives terms no credit, or much, may rank the kinds right and no kind within itself."""
    found = {"all": pairs, "with terms": [p for p in pairs if p[0].clusters > 0],
             "without terms": [p for p in pairs if p[0].clusters == 0]}
    for _, point in pairs:
        found[f"of {point.policy} alone"] = [p for p in pairs if p[1].policy == point.policy]
    return {kind: some for kind, some in found.items() if len(some) >= LEAST}


def compare(loop, replay, out):
    """loop: {title: points}; replay as replayed() has it. Writes open_loop.md and open_loop.png."""
    cells = {}  # by kind: {(trace, group): pairs}
    for trace, by_title in replay.items():
        for group, found in loop.items():
            both = [(by_title[p.name], p) for p in found if p.name in by_title]
            if len(both) < LEAST:
                raise ResultError(trace, "", f"four runs titled as policies of the rows (found {len(both)})",
                                  "replay configs/closed_loop_replay.yaml")
            for kind, pairs in kinds(both).items():
                cells.setdefault(kind, {})[trace, group] = pairs
    verdicts = {kind: verdict(kind, list(found.values())) for kind, found in cells.items()}
    lines = [[trace, group, f"{len(pairs)} {kind}"] + [number(correlation(pairs, of), 2) for _, of in FIGURES]
             for kind, found in cells.items() for (trace, group), pairs in found.items()]
    text = ("# Does replay foretell the loop?\n\nMade by `python3 -m analysis.closed_loop`. Each figure is Spearman's rank "
            "correlation, over the policies of configs/closed_loop.yaml, between a figure of replay (recorded layers "
            "of the same model) and the mean divergence (KL, nats) of the model's predictions with the policy in "
            "every layer. 1: replay ranks the policies as the loop does. A policy has terms where any step of its replay "
            "entered a cluster as one; what `doublep tune` chooses among are settings of one policy.\n\n"
            + grid(["trace replayed", "in the loop", "policies"] + [name for name, _ in FIGURES], lines, left=3)
            + "\n" + "\n".join(said for _, said in verdicts.values()) + "\n\n"
            + "\n".join(values_table(trace, by_title, loop) for trace, by_title in replay.items()))
    with open(os.path.join(out, "open_loop.md"), "w", encoding="utf-8") as file:
        file.write(text)
    scatter(loop, replay, verdicts["all"][0], out)


def scatter(loop, replay, name, out):
    of = dict(FIGURES)[name]
    fig, axes = style.panels(1, len(replay), max(style.TEXT_WIDTH / 2, 3.2 * len(replay)), 2.2, left=0.7)
    for axis, (trace, by_title) in zip(axes[0], replay.items()):
        for at, (group, found) in enumerate(loop.items()):
            for p in found:
                if p.name in by_title:
                    colour, marker = style.look(p.policy)
                    axis.plot(100 * of(by_title[p.name]), max(p.kl, LEAST_KL), marker, color=style.shade(colour, at),
                              ls="none", label=p.policy if at == 0 else None)
        shown = [p for found in loop.values() for p in found if p.name in by_title]
        scaled(axis.xaxis, log_limits([100 * of(by_title[p.name]) for p in shown]))
        scaled(axis.yaxis, kl_limits(shown))
        axis.grid(True, which="major")
        axis.set_title(trace)
        axis.set_xlabel(f"Replay: {name} (%)")
    axes[0][0].set_ylabel("In the loop: KL (nats)")
    handles = dict(zip(*axes[0][0].get_legend_handles_labels()[::-1]))
    style.legend_below(fig, list(handles.values()))
    style.save(fig, out, "open_loop", formats=("png",))


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python3 -m analysis.closed_loop", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", metavar="ROWS.jsonl")
    parser.add_argument("--replay", nargs="+", default=[], metavar="RESULT.h5")
    parser.add_argument("--out", required=True, metavar="FOLDER")
    options = parser.parse_args(arguments)
    try:
        groups = {}
        for config, rows in rows_of(options.rows):
            for model in config["models"]:
                for length in sorted(config["lengths"]):
                    here = [r for r in rows if r["model"] == model["name"] and r["length"] == length]
                    if here:
                        groups[f"{model['name']}, {length} tokens"] = points(config, here)
        if not groups:
            raise ResultError(options.rows[0], "", "a row", "let experiments/accuracy.py go on")
        os.makedirs(options.out, exist_ok=True)
        picture(groups, options.out)
        if options.replay:
            compare(groups, replayed(options.replay), options.out)
    except (ResultError, OSError) as error:
        print(f"closed_loop: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
