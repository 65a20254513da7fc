"""Two results side by side: the same runs in both, paired, and how far each measure moved."""

import json
import os

from analysis import style
from analysis.aggregate import summarise
from analysis.axes import MIB, log_limits
from analysis.errors import ResultError
from analysis.interactive import cost, plot
from analysis.naming import pretty
from analysis.table import Table, number

MEASURES = (  # (heading, value, digits)
    ("error mean", lambda s: s.error, 5),
    ("error p95", lambda s: s.error_p95, 5),
    ("worst head", lambda s: s.error_worst_head, 5),
    ("covered mass", lambda s: s.covered_mass, 6),
    ("MiB/step", lambda s: s.bytes_step / MIB, 4),
)


def pairs(ours, theirs):
    """([(ours, theirs)], only ours, only theirs): summaries with the same settings on the same trace.

    Where no trace is in both and each result has one, these two are compared.
    """
    traces = [{s.run.trace.id for s in group} for group in (ours, theirs)]
    across = traces[0].isdisjoint(traces[1]) and len(traces[0]) == len(traces[1]) == 1
    found = {}
    for side, group in enumerate((ours, theirs)):
        for s in group:
            run, same = s.run, None
            if across:
                same = (
                    run.policy,
                    run.variant,
                    run.backend,
                    run.kv_dtype,
                    json.dumps(run.parameters, sort_keys=True),
                )
            places = found.setdefault(same or (run.key, run.trace.id), ([], []))
            places[side].append(s)
    both = [pair for places in found.values() for pair in zip(*places)]
    paired = [{s.run for s in side} for side in zip(*both)] or [set(), set()]
    return both, [s for s in ours if s.run not in paired[0]], [s for s in theirs if s.run not in paired[1]]


def compared(results, summaries, against, names, target):
    """(sentences, table, chart) of two results; without a run in common they are refused."""
    both, only_ours, only_theirs = pairs(summaries, [summarise(run, target) for run in against.runs])
    files = ", ".join(os.path.basename(sweep.path) for sweep in against.sweeps)
    if not both:
        raise ResultError(
            files,
            "",
            "a run with the settings and the trace of one that it is compared with",
            "compare results of one configuration, or of one trace each",
        )
    same = sum(a.run.rows.tobytes() == b.run.rows.tobytes() for a, b in both)
    sentences = [
        f"Runs in both: {len(both)}, of which {same} have the same rows to the last bit. "
        f"Only in this result: {len(only_ours)}; only in {files}: {len(only_theirs)}."
    ]
    for before, now in sorted(
        {(b.run.trace.name, a.run.trace.name) for a, b in both if a.run.trace.hash != b.run.trace.hash}
    ):
        sentences.append(f"The traces differ: {before} before, {now} now.")
    for word, of in (
        ("commit", lambda s: s.commit),
        ("program hash", lambda s: s.program_hash),
        ("configuration hash", lambda s: s.config_hash),
    ):
        before, now = ({of(sweep) for sweep in r.sweeps} for r in (against, results))
        if before != now:
            sentences.append(f"The {word} differs: {', '.join(sorted(before))} before, {', '.join(sorted(now))} now.")
    return sentences, _table(both, names), _chart(both, names)


def _change(before, now):
    """In percent; 0 where nothing moved, none where there is nothing to divide by."""
    if before == now:
        return 0.0
    return 100 * (now / before - 1) if before else float("nan")


def _table(both, names):
    header = ["trace", "policy", "parameters"]
    for heading, _, _ in MEASURES:
        header += [f"{heading} before", "now", "change %"]
    lines = []
    for a, b in both:
        cells = [a.run.trace.name, a.run.policy, names.parameters(a.run) or "–"]
        for _, of, digits in MEASURES:
            cells += [number(of(b), digits), number(of(a), digits), number(_change(of(b), of(a)), 2)]
        lines.append(cells)
    return Table(header, lines, 3)


def _chart(both, names):
    """Each measure of the error before against now; below the diagonal the error is smaller now."""
    data, axes = [], []
    values = [error.of(s) for error in cost.ERRORS for pair in both for s in pair]
    low, high = log_limits(values, cost.floor_of(cost.ERRORS[0], values))
    policies = dict.fromkeys(a.run.policy for a, _ in both)
    for place, error in enumerate(cost.ERRORS):
        n = str(place + 1) if place else ""
        axes.append((plot.log_axis("Before (%)", low, high), plot.log_axis("Now (%)", low, high)))
        data.append(
            dict(
                type="scatter",
                mode="lines",
                x=[low, high],
                y=[low, high],
                xaxis="x" + n,
                yaxis="y" + n,
                name="unchanged",
                legendgroup="same",
                showlegend=not n,
                hoverinfo="skip",
                line=dict(color="black", width=1),
            )
        )
        for policy in policies:
            mine = [(a, b) for a, b in both if a.run.policy == policy]
            colour, marker = style.look(policy)
            data.append(
                dict(
                    type="scatter",
                    mode="markers",
                    x=[max(error.of(b), low) for _, b in mine],
                    y=[max(error.of(a), low) for a, _ in mine],
                    xaxis="x" + n,
                    yaxis="y" + n,
                    cliponaxis=False,
                    name=plot.text(pretty(policy), 38),
                    legendgroup="p" + policy,
                    showlegend=not n,
                    text=[
                        f"{cost.describe(a, names)}<br><b>before</b>: mean {number(100 * b.error, 2)} %, "
                        f"p95 {number(100 * b.error_p95, 2)} %,<br>worst head {number(100 * b.error_worst_head, 2)} %"
                        for a, b in mine
                    ],
                    hovertemplate="%{text}<extra></extra>",
                    marker=dict(color=colour, symbol=plot.SYMBOLS[marker], size=8, opacity=0.8),
                )
            )
    wide, narrow = plot.panels(cost.TITLES, axes, [one["name"] for one in data if one["showlegend"]])
    return {"data": data, "wide": wide, "narrow": narrow}
