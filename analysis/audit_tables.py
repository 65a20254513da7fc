"""The committed tables of the mass audit, from the result file of configs/audit.yaml:

  doublep run configs/audit.yaml && python3 -m analysis.audit_tables results/audit.h5 [FOLDER]

audit_coverage.md: how often the interval holds the true covered mass, by layer.
guarantee.md: what `guarantee: p` costs and how many steps still cover less than p.
"""

import sys

import numpy as np

from analysis.audit import coverage
from analysis.committed import bytes_read, write_tables
from analysis.table import grid, number



def setting(run):
    p = run.parameters
    if "p1" in p:
        return f"{run.policy} ({p['p1']:g}, {p['p2']:g}) {p['estimator']}"
    share = "p" if "p" in p else "k"
    return f"{run.policy} {share}={p[share]:g} {p['estimator']}"


def coverage_table(runs):
    lines = []
    for run in runs:
        if run.parameters.get("guarantee", 0) > 0 or not np.isfinite(run.rows["audited_low"]).any():
            continue
        rows, shares = run.rows, []
        for layer in np.unique(rows["layer"]):
            held = coverage(rows[rows["layer"] == layer])[1]
            shares.append(f"{layer}: {number(100 * held, 1)}")
        count, held, width = coverage(rows)
        error = rows["audited_mass"] - rows["covered_mass"]
        lines.append([run.trace.name, setting(run), run.parameters["audit"], count,
                      number(rows["covered_mass"].mean(), 4), number(np.abs(error).mean(), 4),
                      number(width, 4), number(100 * held, 1), ", ".join(shares)])
    header = ["trace", "policy", "samples", "rows", "covered mass", "mean error", "mean width",
              "holds %", "by layer %"]
    return grid(header, lines, left=2)


def without(run, runs):
    """The same setting, audited alike, without a guarantee."""
    keys = ("p1", "p2", "estimator", "tokens_per_cluster", "audit")
    same = [r for r in runs if r.trace.id == run.trace.id and r.policy == run.policy
            and r.parameters["guarantee"] == 0
            and all(r.parameters[k] == run.parameters[k] for k in keys)]
    return max(same, key=lambda r: r.parameters["value_side"] == run.parameters["value_side"])


def guarantee_table(runs):
    lines = []
    for run in runs:
        p = run.parameters.get("guarantee", 0)
        if p == 0:
            continue
        base = without(run, runs)
        tokens = [r.rows["exact_tokens"].mean() for r in (base, run)]
        violated = [(r.rows["covered_mass"] < p).mean() for r in (base, run)]
        lines.append([run.trace.name, setting(run), f"{p:g}",
                      number(100 * violated[0], 2), number(100 * violated[1], 2),
                      number(run.rows["covered_mass"].min(), 4),
                      number(tokens[0], 0), number(tokens[1], 0),
                      number(bytes_read(run) / bytes_read(base), 2),
                      number(run.rows["output_error"].mean(), 4)])
    header = ["trace", "from", "p", "below p before %", "after %", "least covered",
              "tokens before", "after", "bytes x", "error"]
    return grid(header, lines, left=2)


def tables(runs):
    double_p = [run for run in runs if run.policy == "double_p"]
    made = "Made by `python3 -m analysis.audit_tables` from the sweep configs/audit.yaml.\n\n"
    return {
        "audit_coverage.md": "# How often the audit's interval holds the covered mass\n\n" + made +
        "One row is a (layer, query head, step). `mean error`: |audited - covered|; `mean width`: "
        "of the interval. All three are shares of the step's true mass.\n\n" + coverage_table(runs),
        "guarantee.md": "# What a guarantee costs\n\n" + made +
        "`below p`: rows that cover less than p of their true mass, without and with `guarantee: p` "
        "(64 audited keys a round). `bytes x`: all bytes read, over those of the same "
        "setting audited once, without a guarantee; tokens: attended exactly, mean.\n\n"
        + guarantee_table(double_p),
    }


if __name__ == "__main__":
    sys.exit(write_tables(sys.argv, __doc__, tables))
