"""Whole decode steps by setting, context and batch: names, ratios, which errors they compare."""

from analysis.naming import pretty

BASES = ("dense", "retroinfer", "quest")  # what Double-P is measured against
PAPER = {"retroinfer": 1.26, "quest": 1.11}  # what the paper states
ALIKE = 1.1  # errors at most this factor apart are about equal
EQUAL, AT_LEAST, AT_MOST, UNKNOWN = "=", "≥", "≤", "?"


def policy_of(label):
    return label.split(":")[0]


def is_ours(label):
    return policy_of(label) == "double_p"


class Steps:
    """The steps by (label, context, batch)."""

    def __init__(self, rows):
        self.rows = {(r["label"].decode(), int(r["context"]), int(r["batch"])): r for r in rows}
        self.labels = sorted({k[0] for k in self.rows}, key=rank)
        self.contexts = sorted({k[1] for k in self.rows})
        self.batches = sorted({k[2] for k in self.rows})

    def settings(self, policy):
        return [x for x in self.labels if policy_of(x) == policy]

    def bases(self):
        """Every label that Double-P is measured against: each setting is a base of its own."""
        return [x for policy in BASES for x in self.settings(policy)]

    def ours(self):
        """Every step of Double-P, in the order of the tables, as (label, context, batch)."""
        return [key for key in ((x, c, b) for x in self.labels if is_ours(x)
                                for c in self.contexts for b in self.batches) if key in self.rows]

    def ratio(self, label, base, context, batch, field):
        mine, other = (self.rows.get((x, context, batch)) for x in (label, base))
        return None if mine is None or other is None else other[field] / mine[field]

    def compared(self, label, base, context, batch):
        """How far a ratio is one at equal error. A rival takes longer for a lower error: where its
        error is the higher one the ratio at equal error is at least this, where lower at most."""
        mine, other = (error(self.rows[x, context, batch]) for x in (label, base))
        if mine is None or other is None:
            return UNKNOWN
        if other > ALIKE * mine:
            return AT_LEAST
        return AT_MOST if mine > ALIKE * other else EQUAL

    def matched(self, label, policy, context, batch):
        """The fastest setting of a rival whose error is about Double-P's or lower; None where none
        is. Without both errors nothing matches: a missing one is no proof."""
        found = [x for x in self.settings(policy) if (x, context, batch) in self.rows
                 and self.compared(label, x, context, batch) in (EQUAL, AT_MOST)]
        return min(found, key=lambda x: self.rows[x, context, batch]["measured"], default=None)


def error(row):
    """Mean error to dense; None where it was not measured."""
    return float(row["output_error"]) if row["output_error"] >= 0 else None


def rank(label):
    order = ("dense", "quest", "twilight", "retroinfer", "double_p")
    policy = policy_of(label)
    return (order.index(policy) if policy in order else len(order), label)


def names(labels):
    """{label: name}; what a rival was given always, our settings where several ran."""
    policies = [policy_of(x) for x in labels]
    found = {}
    for label, policy in zip(labels, policies):
        alone = policies.count(policy) == 1
        plain = alone and (is_ours(label) or ":" not in label)
        found[label] = pretty(policy) + ("" if plain else f" ({settings_name(label)})")
    return found


def settings_name(label):
    """The settings in a label, for people; a label without any ran with the defaults."""
    text = label.partition(":")[2]
    if not text:
        return "defaults"
    if not is_ours(label):
        return ", ".join(part.replace("=", " ", 1) for part in text.split(","))
    words = []
    for part in text.split(","):
        key, _, value = part.partition("=")
        words.append({"second_order": "2nd order", "group_sum": "by group",
                      "estimate": "outside estimated"}.get(value, value)
                     if key not in ("tokens_per_cluster", "segment") else part)
    if len(words) > 1:
        words[:2] = [" / ".join(words[:2])]
    return "; ".join(words)
