"""Whole decode steps, measured and predicted: tables, and speed-ups over three policies."""

import numpy as np
from matplotlib.lines import Line2D

from analysis import style
from analysis.naming import pretty
from analysis.simulation.names import tokens
from analysis.table import grid

BASES = (("dense", "dense"), ("retroinfer", "RetroInfer"), ("quest", "Quest"))
PAPER = {"retroinfer": 1.26, "quest": 1.11}  # what CLAIMS says
CLAIMS = """\
The paper states, end to end for LLaMA-3.1-8B on an H100 (arXiv 2602.05191): 1.26x over RetroInfer and 1.11x over
Quest. Our aim is 1.5x over RetroInfer at 128K.
"""
CARE = """\
Every policy here runs through the same fused kernels, and the errors below are those of these very caches: a
ratio between policies of different errors is no gain.
"""


def is_ours(label):
    return label.startswith("double_p")


class Steps:
    """The steps by (label, context, batch)."""

    def __init__(self, rows):
        self.rows = {(r["label"].decode(), int(r["context"]), int(r["batch"])): r for r in rows}
        self.labels = sorted({k[0] for k in self.rows}, key=_rank)
        self.contexts = sorted({k[1] for k in self.rows})
        self.batches = sorted({k[2] for k in self.rows})

    def base(self, policy):
        """The label of a policy that others are measured against; None where it did not run."""
        return next((x for x in self.labels if x.split(":")[0] == policy), None)

    def ratio(self, label, base, context, batch, field):
        mine, other = (self.rows.get((x, context, batch)) for x in (label, base))
        return None if mine is None or other is None else other[field] / mine[field]


def _rank(label):
    order = ("dense", "quest", "twilight", "retroinfer", "double_p")
    policy = label.split(":")[0]
    return (order.index(policy) if policy in order else len(order), label)


def names(labels):
    """{label: name}, with the settings only where a policy ran with several."""
    policies = [x.split(":")[0] for x in labels]
    found = {}
    for label, policy in zip(labels, policies):
        found[label] = pretty(policy)
        if policies.count(policy) > 1:
            found[label] += f" ({_settings(label)})"
    return found


def _settings(label):
    words = []
    for part in label.partition(":")[2].split(","):
        key, _, value = part.partition("=")
        words.append({"second_order": "2nd order", "group_sum": "by group",
                      "estimate": "outside estimated"}.get(value, value)
                     if key not in ("tokens_per_cluster", "segment") else part)
    if len(words) > 1 and label.startswith("double_p"):
        words[:2] = [" / ".join(words[:2])]
    return "; ".join(words)


def ratios(steps):
    """Double-P's speed-ups, measured with the prediction in brackets: a line per setting, context
    and batch."""
    bases = [(steps.base(p), title) for p, title in BASES if steps.base(p)]
    called = names(steps.labels)
    lines = []
    for label in steps.labels:
        for context in steps.contexts:
            for batch in steps.batches:
                row = steps.rows.get((label, context, batch))
                if row is None or not is_ours(label):
                    continue
                cells = []
                for base, _ in bases:
                    found = [steps.ratio(label, base, context, batch, f)
                             for f in ("measured", "predicted")]
                    cells.append("–" if None in found else f"{found[0]:.2f}x ({found[1]:.2f}x)")
                lines.append([called[label], tokens(context), str(batch),
                              f"{1e3 * row['measured']:.3f}"] + cells + [_error(row)])
    header = ["policy", "context", "batch", "ms/step"] + [f"over {t}" for _, t in bases]
    return grid(header + ["error to dense"], lines)


def _error(row):
    return f"{row['output_error']:.3f}" if row["output_error"] >= 0 else "–"


def every(steps):
    """Measured and predicted time of every step."""
    called = names(steps.labels)
    lines = [[called[r["label"].decode()], tokens(r["context"]), str(r["batch"]),
              f"{1e3 * r['measured']:.3f}", f"{1e3 * r['predicted']:.3f}",
              f"{100 * (r['predicted'] / r['measured'] - 1):+.1f} %", _error(r),
              str(r["distinct"]), "held out" if r["held_out"] else "fitted"]
             for _, r in sorted(steps.rows.items(), key=lambda i: (_rank(i[0][0]), i[0][1:]))]
    return grid(["policy", "context", "batch", "measured ms", "predicted ms", "error",
                 "error to dense", "own caches", ""], lines)


def products(rows):
    lines = [[r["part"].decode(), str(r["batch"]), f"{1e6 * r['measured']:.1f}",
              f"{1e6 * r['predicted']:.1f}", f"{100 * (r['predicted'] / r['measured'] - 1):+.1f} %",
              "held out" if r["held_out"] else "fitted"] for r in rows]
    return grid(["part", "batch or rows", "measured µs", "predicted µs", "error", ""], lines)


def draw(steps):
    """Speed-up over each base against the context, a panel per batch."""
    bases = [(steps.base(p), title) for p, title in BASES if steps.base(p)]
    if not bases or not any(x != "dense" for x in steps.labels):
        return None
    fig, boxes = style.panels(len(bases), len(steps.batches), style.TEXT_WIDTH, 1.5, share_y=True)
    look = _looks(steps.labels)
    for r, (row, (base, title)) in enumerate(zip(boxes, bases)):
        claim = PAPER.get(base.split(":")[0])
        top = claim or 1.0
        for ax, batch in zip(row, steps.batches):
            for label in steps.labels:
                if label != base and label != "dense":
                    top = max(top, _curve(ax, steps, label, base, batch, *look[label]))
            ax.axhline(1, color="black", linewidth=0.7, zorder=1)
            if claim:
                ax.axhline(claim, color="#666666", linewidth=0.9, linestyle=":", zorder=1)
            ax.set_xscale("log", base=2)
            ax.set_xticks(steps.contexts, [tokens(c) for c in steps.contexts])
            ax.minorticks_off()
            ax.grid(True)
            if r == 0:
                ax.set_title(f"batch {batch}")
            if r + 1 == len(bases):
                ax.set_xlabel("context (tokens)")
        for ax in row:
            ax.set_ylim(0, 1.07 * top)
            if ax is not row[0]:
                ax.set_yticklabels([])
        row[0].set_ylabel(f"speed-up over {title}")
    called = names(steps.labels)
    handles = [Line2D([], [], color=look[x][0], marker=look[x][1], label=called[x])
               for x in steps.labels if x != "dense"]
    handles.append(Line2D([], [], color="#555555", marker="o", markerfacecolor="white",
                          linestyle=(0, (2, 1.2)), label="hollow, dashed: predicted"))
    handles.append(Line2D([], [], color="#666666", linestyle=":", label="the paper's claim"))
    style.legend_below(fig, handles)
    return fig


def _looks(labels):
    """{label: (colour, marker)}: settings of one policy in its colour's shades."""
    found, count = {}, {}
    for label in labels:
        policy = label.split(":")[0]
        place = count.setdefault(policy, 0)
        count[policy] += 1
        colour, marker = style.look(policy)
        found[label] = (style.shade(colour, (0, 2, 1, 4, 3, 5)[place % 6]),
                        marker if place == 0 else ("^", "v", "P", "X")[(place - 1) % 4])
    return found


def _curve(ax, steps, label, base, batch, colour, marker):
    """Both lines of one setting; the largest value drawn."""
    top = 0.0
    for field, line, face in (("predicted", (0, (2.5, 1.2)), "white"), ("measured", "-", colour)):
        found = [(c, steps.ratio(label, base, c, batch, field)) for c in steps.contexts]
        found = np.array([f for f in found if f[1] is not None])
        if len(found):
            ax.plot(found[:, 0], found[:, 1], color=colour, marker=marker, markerfacecolor=face,
                    linestyle=line, linewidth=1.3 if field == "measured" else 0.9)
            top = max(top, found[:, 1].max())
    return top


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
               f"{100 * found[k + '_worst_error']:.1f} %"] for k in ("fitted", "held_out")]), CLAIMS,
        CARE)
    report.figure(draw(steps), "simulation_end_to_end",
                  "Speed-up of a whole decode step, measured and predicted.")
    report.add("Double-P's measured speed-up, the predicted one in brackets:\n", ratios(steps),
               "<details><summary>Every step, and what it is made of</summary>\n", every(steps),
               products(found["products"]), "</details>\n")
