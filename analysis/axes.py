"""What can stand on an axis: the accuracies and the costs, with label, unit and scale."""

from dataclasses import dataclass
from typing import Callable

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

MIB = 1024.0 * 1024.0


@dataclass(frozen=True)
class Quantity:
    """Lower is better in every accuracy, so that the good corner is always the lower left one."""

    key: str
    label: str
    of: Callable  # Summary -> number in the label's unit
    log: bool = True
    floor: float = 0.0  # smaller values are drawn at the lower edge of a logarithmic axis


ACCURACIES = {
    q.key: q
    for q in (
        Quantity("output_error", "Output error (%)", lambda s: 100 * s.error, floor=0.1),
        Quantity("missed_mass", "Mass not covered (%)", lambda s: 100 * s.missed_mass, floor=0.1),
        Quantity("violation", "Violation rate (%)", lambda s: 100 * s.violation_common, log=False),
    )
}
COSTS = {
    q.key: q
    for q in (
        Quantity("exact_tokens", "Exact tokens per head", lambda s: s.exact_tokens),
        Quantity("bytes", "MiB read per layer and step", lambda s: s.bytes_step / MIB),
        Quantity("kept", "1 − sparsity (%)", lambda s: 100 * s.kept),
    )
}
DENSE_COST = {
    "exact_tokens": lambda s: s.visible_tokens,
    "bytes": lambda s: s.dense_bytes / MIB,
    "kept": lambda s: 100.0,
}


def plain(value, _=None):
    """1500 -> 1.5k: short enough for three panels in a page."""
    return f"{value:.10g}" if value < 1000 else f"{value / 1000:.10g}k"


def log_scale(axis, low, high):
    """Logarithmic, with plain numbers: 1-2-5 where the span is short, decades where it is not."""
    (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
    decades = np.log10(high / low)
    for subs, most in (((1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0), 0.6), ((1.0, 2.0, 5.0), 1.7),
                       ((1.0, 3.0), 2.5), ((1.0,), np.inf)):
        if decades < most:
            break
    axis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axis.set_major_formatter(FuncFormatter(plain))
    axis.set_minor_formatter(NullFormatter())
    if len(subs) > 1:
        axis.set_minor_locator(NullLocator())


def log_limits(values, floor=0.0, pad=0.06):
    """(low, high) around the positive values above the floor, padded by a share of the span."""
    values = np.asarray([v for v in values if np.isfinite(v) and v > floor], dtype=float)
    if not len(values):
        return (floor or 1.0), 10 * (floor or 1.0)
    low, high = np.log10(values.min()), np.log10(values.max())
    room = max(pad * (high - low), 0.08)
    return 10 ** (low - room), 10 ** (high + room)
