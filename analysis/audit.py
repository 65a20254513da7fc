"""How often the interval of a sampled mass audit holds the true covered mass, layer by layer."""

import numpy as np

from analysis.table import Table, number


def coverage(rows):
    """(audited rows, share of them whose interval holds covered_mass, mean width)."""
    low, high = rows["audited_low"], rows["audited_high"]
    good = np.isfinite(low) & np.isfinite(high)
    if not good.any():
        return 0, float("nan"), float("nan")
    true = rows["covered_mass"][good]
    holds = (low[good] - 1e-12 <= true) & (true <= high[good] + 1e-12)
    return int(good.sum()), float(holds.mean()), float((high[good] - low[good]).mean())


def tables(summaries, names):
    """A line per audited run and layer; no table where no run was audited."""
    lines = []
    for s in summaries:
        rows = s.run.rows
        if not np.isfinite(rows["audited_low"]).any():
            continue
        for layer in list(np.unique(rows["layer"])) + ["all"]:
            part = rows if layer == "all" else rows[rows["layer"] == layer]
            count, share, width = coverage(part)
            lines.append([s.run.trace.name, names.run(s.run), layer, count,
                          number(100 * share, 1), number(width, 4)])
    header = ["trace", "run", "layer", "audited rows", "interval holds %", "mean width"]
    return [Table(header, lines, 2)] if lines else []
