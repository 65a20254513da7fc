"""The non-dominated points of a cost-accuracy cloud, and what a given error costs on them."""

import math
from dataclasses import dataclass

import numpy as np

# Two neighbours whose errors differ by more than this are no curve: between (p1, p2) = (0.95, 0.7)
# and the exact (1, 1) a straight line would promise what nobody measured.
WIDEST_GAP = 10.0


def front(cost, loss):
    """Indices of the points no other point beats, cheapest first (lower is better in both).

    Points with a value that is not finite never count; of equal points the first is kept.
    """
    cost, loss = np.asarray(cost, dtype=float), np.asarray(loss, dtype=float)
    good = [i for i in range(len(cost)) if math.isfinite(cost[i]) and math.isfinite(loss[i])]
    kept, best = [], math.inf
    for i in sorted(good, key=lambda i: (cost[i], loss[i], i)):
        if loss[i] < best:
            kept.append(i)
            best = loss[i]
    return kept


@dataclass(frozen=True)
class Reach:
    """What a front needs to come down to a loss."""

    cost: float  # NaN: not reached
    points: tuple  # indices of the one point, or of the two it lies between; () when not reached
    bounded: bool = False  # the cheapest point already meets it: the true cost may be lower


def cost_at(cost, loss, level, widest_gap=WIDEST_GAP):
    """Cost at which the front comes down to `level`, log-log between its points."""
    kept = front(cost, loss)
    meets = [i for i in kept if loss[i] <= level]
    if not meets:
        return Reach(math.nan, ())
    right = meets[0]
    place = kept.index(right)
    if place == 0:
        return Reach(float(cost[right]), (right,), bounded=loss[right] < level)
    left = kept[place - 1]
    apart = loss[right] <= 0 or loss[left] / loss[right] > widest_gap
    if loss[right] == level or apart or cost[left] <= 0:
        return Reach(float(cost[right]), (right,))
    share = math.log(loss[left] / level) / math.log(loss[left] / loss[right])
    step = share * math.log(cost[right] / cost[left])
    return Reach(float(cost[left]) * math.exp(step), (left, right))
