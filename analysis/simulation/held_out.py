"""Which points were kept from a fit, and that they lie all over the grid that was measured."""

from analysis.simulation.names import tokens

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
