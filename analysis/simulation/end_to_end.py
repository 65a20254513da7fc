"""Whole decode steps, measured and predicted: tables, and Double-P's speed-ups over its rivals."""

from analysis.naming import pretty
from analysis.simulation.end_to_end_figure import draw
from analysis.simulation.names import tokens
from analysis.simulation.steps import (ALIKE, AT_LEAST, AT_MOST, EQUAL, UNKNOWN, Steps, error,
                                       names, rank, settings_name)
from analysis.simulation.tables import held_out
from analysis.table import grid

CLAIMS = """\
The paper states, end to end for LLaMA-3.1-8B on an H100 (arXiv 2602.05191): 1.26x over RetroInfer and 1.11x over
Quest. Our aim is 1.5x over RetroInfer at 128K.
"""
CARE = f"""\
Every policy here runs through the same fused kernels, and the errors below are those of these very caches: a
ratio between policies of different errors is no gain. Read the sign before a ratio first. `{EQUAL}`: both errors are
within {ALIKE:g}x of each other. `{AT_LEAST}`: the rival's error is higher, and at Double-P's it would take longer: the
ratio at equal error is at least this. `{AT_MOST}`: the rival's error is lower, and a cheaper setting of it could do:
the ratio at equal error is at most this. `{UNKNOWN}`: an error was not measured. Dense has no setting to choose.
"""


def ratios(steps):
    """Double-P's speed-ups, measured with the prediction in brackets: a line per setting, context
    and batch, a column per setting of a rival."""
    bases, called, lines = steps.bases(), names(steps.labels), []
    for label, context, batch in steps.ours():
        row = steps.rows[label, context, batch]
        lines.append([called[label], tokens(context), str(batch), f"{1e3 * row['measured']:.3f}",
                      shown(row)] + [_ratio(steps, label, b, context, batch) for b in bases])
    header = ["policy", "context", "batch", "ms/step", "error to dense"]
    return grid(header + [f"over {called[b]}" + (", error 0" if b == "dense" else "")
                          for b in bases], lines)


def _ratio(steps, label, base, context, batch):
    text = _speed_up(steps, label, base, context, batch)
    if base == "dense" or text == "–":
        return text
    sign = steps.compared(label, base, context, batch)
    return f"{sign} {text} at {shown(steps.rows[base, context, batch])}"


def _speed_up(steps, label, base, context, batch):
    found = [steps.ratio(label, base, context, batch, f) for f in ("measured", "predicted")]
    return "–" if None in found else f"{found[0]:.2f}x ({found[1]:.2f}x)"


def equal_error(steps):
    """Against the fastest setting of each rival whose error is about Double-P's or lower: a line
    per context, batch and setting of Double-P."""
    rivals = [p for p in ("retroinfer", "quest") if steps.settings(p)]
    called, lines = names(steps.labels), []
    for label, context, batch in sorted(steps.ours(), key=lambda k: (k[1:], rank(k[0]))):
        row = steps.rows[label, context, batch]
        line = [tokens(context), str(batch), called[label], f"{1e3 * row['measured']:.3f}",
                shown(row)]
        for policy in rivals:
            line += _matched(steps, label, policy, context, batch)
        lines.append(line)
    header = ["context", "batch", "policy", "ms/step", "error"]
    for policy in rivals:
        header += [f"{pretty(policy)} with", "ms/step", "error", "speed-up"]
    return grid(header, lines, left=3)


def _matched(steps, label, policy, context, batch):
    base = steps.matched(label, policy, context, batch)
    if base is None:
        return ["–"] * 4
    row = steps.rows[base, context, batch]
    return [settings_name(base), f"{1e3 * row['measured']:.3f}", shown(row),
            f"{steps.compared(label, base, context, batch)} "
            + _speed_up(steps, label, base, context, batch)]


def shown(row):
    found = error(row)
    return "–" if found is None else f"{found:.3f}"


def every(steps):
    """Measured and predicted time of every step."""
    called = names(steps.labels)
    lines = [[called[r["label"].decode()], tokens(r["context"]), str(r["batch"]),
              f"{1e3 * r['measured']:.3f}", f"{1e3 * r['predicted']:.3f}",
              f"{100 * (r['predicted'] / r['measured'] - 1):+.1f} %", shown(r),
              str(r["distinct"]), "held out" if r["held_out"] else "fitted"]
             for _, r in sorted(steps.rows.items(), key=lambda i: (rank(i[0][0]), i[0][1:]))]
    return grid(["policy", "context", "batch", "measured ms", "predicted ms", "error",
                 "error to dense", "own caches", ""], lines)


def products(rows):
    lines = [[r["part"].decode(), str(r["batch"]), f"{1e6 * r['measured']:.1f}",
              f"{1e6 * r['predicted']:.1f}", f"{100 * (r['predicted'] / r['measured'] - 1):+.1f} %",
              "held out" if r["held_out"] else "fitted"] for r in rows]
    return grid(["part", "batch or rows", "measured µs", "predicted µs", "error", ""], lines)


def section(report, simulation):
    """The part of the report about whole steps."""
    report.add("## End to end, measured\n")
    found = simulation.end_to_end
    if found is None:
        report.add("Not measured: the configuration names no file of `doublep_e2e` "
                   "(`calibration.end_to_end`). In every time below matrix products run at the "
                   "machine's read bandwidth or compute rate, and a launch takes what the machine's "
                   "description assumes.\n", CLAIMS)
        return
    steps = Steps(found["steps"])
    c = simulation.calibration
    report.add(
        f"{found['model']}, {found['layers']:.0f} layers, on {found['device']}: matrix products by "
        "cuBLAS, small kernels, each layer's attention by the policy, in one CUDA graph. Caches: "
        f"{found['caches']}.\n",
        f"Predicted with what was fitted above and, from steps and products that are not held out: "
        f"matrix products at {100 * c['gemm_share']:.1f} % of the read bandwidth and "
        f"{1e6 * c['gemm_latency']:.1f} µs a launch, {1e6 * found['small_latency']:.1f} µs a small "
        f"kernel, {1e6 * found['attention_offset']:+.1f} µs a layer's attention beside what it "
        f"takes alone in a graph, a prompt's products at {100 * found['prefill_share']:.1f} % of "
        "the compute rate (its attention was not measured and is taken at the same).\n",
        grid(["steps", "count", "median error", "worst error"],
             [[k.replace("_", "-"), f"{found[k + '_points']:.0f}",
               f"{100 * found[k + '_median_error']:.1f} %",
               f"{100 * found[k + '_worst_error']:.1f} %"] for k in ("fitted", "held_out")]),
        held_out(found["steps"]), CLAIMS, CARE)
    report.figure(lambda: draw(steps), "simulation_end_to_end",
                  "Speed-up of a whole decode step, measured and predicted, over each setting of a "
                  "rival. Black rims: both errors are about equal.")
    report.add("At about equal error: of each rival, the fastest setting with an error of at most "
               f"{ALIKE:g} times Double-P's; the measured speed-up over it, the predicted one in "
               "brackets:\n", equal_error(steps),
               "Double-P's measured speed-up over every setting, the predicted one in brackets, "
               "and the error of what it is over:\n", ratios(steps),
               "<details><summary>Every step, and what it is made of</summary>\n", every(steps),
               products(found["products"]), "</details>\n")
