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
    cache = cache_name(point)
    marks = ("" if point["fits"] else "†") + ("‡" if point["extrapolated"] else "")
    return [tokens(point["context"]), str(point["batch"]), cache, f"{1e3 * point['seconds']:.3f}",
            f"{1e3 * point['attention_seconds']:.3f}", ratio("dense"), ratio("retroinfer"),
            BOUNDS[point["bound"]], str(point["largest_batch"]),
            f"{curve.output_error:.3f}" if curve.policy != "dense" else "0", marks]


def cache_name(point):
    """Where keys and values lie, and in how many bits a number, scales included, where not in 16."""
    where = "device" if point["place"] == 0 else f"host, {100 * point['cache_share']:g} % here"
    return where + ("" if point["kv_bytes"] == 2 else f", {8 * point['kv_bytes']:.3g} bits a number")


def crossover(curves):
    """From which context each policy's step beats dense's: a table per setting, a column per batch."""
    names, parts = curve_names(curves), []
    for place in panels(curves):
        mine = {c.label: (c, rows_of(c, place)) for c in curves if rows_of(c, place)}
        batches = sorted({int(r["batch"]) for _, rows in mine.values() for r in rows})
        outside = {w for _, rows in mine.values() for r in rows for w in reasons(r["extrapolated"])}
        lines = [[names[label]] + [start(next((r for r in rows if r["batch"] == b), None))
                                   for b in batches] + [f"{c.output_error:.3f}"]
                 for label, (c, rows) in mine.items()]
        note = f" ‡ extrapolated: {', '.join(sorted(outside))}." if outside else ""
        parts.append(f"**{escape(place_name(place))}**.{note}\n\n" +
                     grid(["policy"] + [f"batch {b}" for b in batches] + ["profile's error"], lines))
    return "\n".join(parts)


def panels(curves):
    """(setting, cache) of every panel and table of crossovers, in the order of the file."""
    return list(dict.fromkeys((c.setting, cache_name(r)) for c in curves for r in c.crossover))


def rows_of(curve, place):
    return [r for r in curve.crossover if (curve.setting, cache_name(r)) == place]


def place_name(place):
    (_, hardware, what_if, model, workload), cache = place
    return ", ".join(filter(None, (f"{model} on {hardware}", what_if, f"workload {workload}",
                                   "" if cache == "device" else f"cache: {cache}")))


def start(row):
    """Where it begins; at the range's own beginning it may be earlier."""
    if row is None:
        return "–"
    beyond = max(row["context"], row["from"]) > row["largest"]
    marks = ("†" if beyond else "") + ("‡" if row["extrapolated"] else "")
    if not row["context"]:
        return "never" + marks
    return ("≤ " if row["context"] == row["from"] else "") + tokens(row["context"]) + marks


def answers(curves):
    """Device time of whole answers, and how much longer than dense's one may be to break even."""
    names, parts = curve_names(curves), []
    dense = {c.setting + _asked(row): row for c in curves if c.policy == "dense" for row in c.answers}
    header = ["policy", "prompt", "batch", "tokens", "length to dense", "prefill s", "index s",
              "steps s", "an answer s", "dense over it", "breaks even at", "profile's error", ""]
    for setting in dict.fromkeys(c.setting for c in curves):
        lines = []
        for curve in (c for c in curves if c.setting == setting):
            for row in curve.answers:
                ratio, even = break_even(row, dense.get(setting + _asked(row)))
                lines.append(
                    [names[curve.label], tokens(row["prompt"]), str(row["batch"]),
                     f"{row['tokens']:.0f}", f"{row['ratio']:.3f}{_pairs(row)}"] +
                    [number(row[k], 3) for k in ("prefill_seconds", "build_seconds",
                                                 "steps_seconds", "seconds")] +
                    [ratio, even, f"{curve.output_error:.3f}" if curve.policy != "dense" else "0",
                     ("" if row["fits"] else "†") + ("‡" if row["extrapolated"] else "")])
        parts.append(f"**{escape(place_name((setting, 'device')))}**\n\n" + grid(header, lines))
    return "\n".join(parts)


def break_even(row, dense):
    """Dense's time over this answer's, and the length to dense's at which they are the same; steps
    are taken to cost the same each."""
    if dense is None:
        return "–", "–"
    left = dense["seconds"] - row["prefill_seconds"] - row["build_seconds"]
    step = row["steps_seconds"] / row["batch"] / row["ratio"]
    return f"{dense['seconds'] / row['seconds']:.2f}x", f"{left / step:.2f}" if left > 0 else "never"


def _pairs(row):
    if not row["questions"]:
        return ""
    return f" ({row['questions']} questions, {row['cut']} cut)"


def _asked(row):
    return tuple(row[k] for k in ("prompt", "batch", "tensor_parallel", "place", "cache_share",
                                  "kv_bytes", "output"))


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
