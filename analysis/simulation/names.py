"""What curves, machines and models are called in figures."""

from analysis.naming import pretty, show
from analysis.style import look, shade

SHORT = {"second_order": "2nd order", "group_sum": "by group", "jensen": "", "per_head": "",
         "drop": "", "estimate": "", "quest": ""}
TOKENS = {"K": 1 << 10, "M": 1 << 20}


def curve_names(curves):
    """{label: name}; of several curves of a policy, what tells them apart."""
    labels = {}
    for curve in curves:
        labels.setdefault(curve.label, curve)
    return {label: _name(curve, labels.values()) for label, curve in labels.items()}


def _name(curve, others):
    if curve.title:
        return curve.title
    mine = [c.parameters for c in others if c.policy == curve.policy]
    if len(mine) == 1:
        return pretty(curve.policy)
    parts = []
    values = curve.parameters
    if {"p1", "p2"} <= set(values):
        parts.append(f"{show(values['p1'])}, {show(values['p2'])}")
    for key in values:
        if key in ("p1", "p2") or len({show(p.get(key)) for p in mine}) == 1:
            continue
        word = show(values[key])
        word = SHORT[word] if word in SHORT else f"{key}={word}"
        if word:
            parts.append(word)
    return f"{pretty(curve.policy)} ({'; '.join(parts)})"


def looks(curves):
    """{label: (colour, marker)}: the policy's own, shaded where it has several curves."""
    found, count = {}, {}
    markers = ("o", "^", "s", "v", "D", "P")
    for curve in curves:
        if curve.label in found:
            continue
        place = count.get(curve.policy, 0)
        count[curve.policy] = place + 1
        colour, marker = look(curve.policy)
        if place:
            marker = [m for m in markers if m != marker][(place - 1) % (len(markers) - 1)]
        found[curve.label] = (shade(colour, (0, 2, 1, 4, 3, 5)[place % 6]), marker)
    return found


def tokens(n):
    """131072 -> 128K."""
    for unit, size in reversed(TOKENS.items()):
        if n >= size:
            return f"{n / size:g}{unit}" if n % size == 0 else f"{n / size:.1f}{unit}"
    return str(int(n))
