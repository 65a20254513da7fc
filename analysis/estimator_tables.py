"""The committed table of the estimators, from the result file of configs/ablation_estimators.yaml:

  doublep run configs/ablation_estimators.yaml
  python3 -m analysis.estimator_tables results/ablation_estimators.h5 [FOLDER]

ablation_estimators.md: mean output error of every estimator and value side at equal settings, and
the change against the same setting with jensen (or second_order where the sweep has no jensen) and
mean values.
"""

import sys

from analysis.committed import bytes_read, write_tables
from analysis.table import grid, number

ORDER = ("jensen", "second_order", "diagonal")


def setting(run):
    """What the run has beside estimator and value side."""
    p = run.parameters
    rest = tuple(sorted((k, v) for k, v in p.items() if k not in ("estimator", "value_side")))
    return run.trace.id, run.policy, rest


def label(run):
    p = run.parameters
    if "p1" in p:
        return f"{run.policy} ({p['p1']:g}, {p['p2']:g}) {p['outside']}"
    return run.policy + (f" p={p['p']:g}" if "p" in p else "")


def variant(run):
    p = run.parameters
    return ORDER.index(p["estimator"]), p.get("value_side", "mean") == "shifted"


def table(runs):
    settings = {}
    for run in runs:
        settings.setdefault(setting(run), []).append(run)
    lines = []
    for same in settings.values():
        same.sort(key=variant)
        base = same[0].rows["output_error"].mean()
        for run in same:
            error = run.rows["output_error"].mean()
            name = run.parameters["estimator"]
            if variant(run)[1]:
                name += " shifted"
            lines.append([run.trace.name, label(run), name, run.parameters["tokens_per_cluster"],
                          number(run.rows["exact_tokens"].mean(), 1),
                          number(run.rows["approximated_clusters"].mean(), 1),
                          number(bytes_read(run) / 1024, 1), number(error, 4),
                          number(100 * (error / base - 1), 1)])
    header = ["trace", "policy", "estimator, value", "tokens/cluster", "exact tokens", "terms",
              "KiB read", "error", "change %"]
    return grid(header, lines, left=3)


def tables(runs):
    text = ("# What each estimator, and the shifted value, buys\n\n"
            "Made by `python3 -m analysis.estimator_tables` from the sweep "
            "configs/ablation_estimators.yaml.\n\nMeans over layers, heads and steps; `KiB read`: a "
            "query head's share per step, in bf16. `change`: of the error, against the first line of "
            "the same setting.\n\n" + table(runs))
    return {"ablation_estimators.md": text}


if __name__ == "__main__":
    sys.exit(write_tables(sys.argv, __doc__, tables))
