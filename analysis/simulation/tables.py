"""The simulation's tables, in Markdown."""

import math

from analysis.simulation.names import curve_names, tokens
from analysis.simulation.reader import BOUNDS, reasons
from analysis.table import escape, grid, number


def study(curves):
    """Every point of a study, one table per setting; † does not fit, ‡ extrapolated."""
    names = curve_names(curves)
    parts = []
    for setting in dict.fromkeys(c.setting for c in curves):
        mine = [c for c in curves if c.setting == setting and c.points is not None]
        if not mine:
            continue
        base = {p: _times(c) for c in mine for p in ("dense", "retroinfer") if c.policy == p}
        lines, outside = [], set()
        for curve in mine:
            for point in curve.points:
                outside |= set(reasons(point["extrapolated"]))
                lines.append([names[curve.label]] + _cells(curve, point, base))
        _, hardware, what_if, model, workload = setting
        heading = f"**{escape(f'{model} on {hardware}')}**"
        heading += f", {escape(what_if)}" if what_if else ""
        note = f" ‡ extrapolated: {', '.join(sorted(outside))}." if outside else ""
        parts.append(f"{heading}, workload {escape(workload)}.{note}\n\n" + grid(HEADER, lines))
    return "\n".join(parts)


HEADER = ["policy", "context", "batch", "cache", "ms/step", "attention", "over dense",
          "over RetroInfer", "bound by", "largest batch", "profile's error", ""]


def _key(point):
    return tuple(point[k] for k in ("context", "batch", "tensor_parallel", "place",
                                    "cache_share", "balance", "kv_bytes"))


def _times(curve):
    return {_key(p): p["seconds"] for p in curve.points}


def _cells(curve, point, base):
    def ratio(policy):
        found = base.get(policy, {}).get(_key(point))
        return "–" if found is None else f"{found / point['seconds']:.2f}x"
    cache = "device" if point["place"] == 0 else f"host, {100 * point['cache_share']:g} % here"
    marks = ("" if point["fits"] else "†") + ("‡" if point["extrapolated"] else "")
    return [tokens(point["context"]), str(point["batch"]), cache, f"{1e3 * point['seconds']:.3f}",
            f"{1e3 * point['attention_seconds']:.3f}", ratio("dense"), ratio("retroinfer"),
            BOUNDS[point["bound"]], str(point["largest_batch"]),
            f"{curve.output_error:.3f}" if curve.policy != "dense" else "0", marks]


def serving(curves):
    names = curve_names(curves)
    header = ["policy", "requests/s", "tokens/s", "TPOT p50 ms", "TPOT p99 ms", "TTFT p50 s",
              "TTFT p99 s", "most running", "rejected", "busy"]
    lines = []
    for curve in curves:
        for s in curve.serving if curve.serving is not None else ():
            rejected = "all" if s["rejected"] == s["requests"] else str(s["rejected"])
            lines.append([names[curve.label], f"{s['rate']:g}", number(s["tokens_per_second"], 1),
                          number(1e3 * s["tpot_p50"], 1), number(1e3 * s["tpot_p99"], 1),
                          number(s["ttft_p50"], 2), number(s["ttft_p99"], 2),
                          str(s["peak_running"]), rejected, f"{100 * s['busy']:.0f} %"])
    return grid(header, lines)


RULE = ("Held out of the fit by a fixed hash of setting, context and batch, which knows neither the "
        "order of the points nor their times")


def held_out(rows):
    """How the held-out points are chosen, and how many there are of each batch and context."""
    counts = []
    for name, show in (("batch", str), ("context", tokens)):
        values = sorted({int(r[name]) for r in rows})
        of = {v: [bool(r["held_out"]) for r in rows if r[name] == v] for v in values}
        counts.append(f"by {name} " + ", ".join(f"{show(v)}: {sum(of[v])} of {len(of[v])}"
                                                for v in values))
    return f"{RULE}: {'; '.join(counts)}.\n"


def calibration(simulation):
    """What was fitted, and how well it predicts."""
    c = simulation.calibration
    lines = []
    for access in ("dense", "sparse", "summary", "gemm"):
        latency = c[access + "_latency"]
        lines.append([access, f"{c[access + '_share']:.3f}" if latency >= 0 else "not measured",
                      f"{1e6 * latency:.2f}" if latency >= 0 else "–"])
    for line in lines:
        line.append("–")
    kinds = ["heads", "pages", "group", "tokens", "zone"]
    if c.get("search_ranked_latency", -1) >= 0:
        kinds.append("ranked")
    for kind in kinds:
        rate, latency, turn = (c.get(f"search_{kind}_{what}", 0)
                               for what in ("rate", "latency", "turn_latency"))
        lines.append(["sinks and window only" if kind == "zone" else f"search by {kind}",
                      f"{rate / 1e9:.2f} masses/ns" if rate else "–",
                      f"{1e6 * latency:.2f}" if latency >= 0 else "–",
                      f"{1e6 * turn:.2f}" if latency >= 0 else "–"])
    fitted = grid(["kernel", "share of read bandwidth", "latency µs", "a turn µs"], lines)
    errors = grid(["points", "count", "median error", "worst error"],
                  [[kind.replace("_", "-"), f"{c[kind + '_points']:.0f}",
                    _percent(c[kind + "_median_error"]), _percent(c[kind + "_worst_error"])]
                   for kind in ("fitted", "held_out")])
    points = [[p["policy"].decode(), p["label"].decode(), tokens(p["context"]), str(p["batch"]),
               f"{1e6 * p['measured']:.1f}", f"{1e6 * p['predicted']:.1f}",
               f"{100 * (p['predicted'] / p['measured'] - 1):+.1f} %",
               "held out" if p["held_out"] else "fitted"] for p in simulation.measured]
    table = grid(["policy", "setting", "context", "batch", "measured µs", "predicted µs", "error",
                  ""], points, left=2)
    return fitted, errors, table


def _percent(x):
    return f"{100 * x:.1f} %" if math.isfinite(x) else "–"
