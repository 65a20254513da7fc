"""Rows of experiments/accuracy.py, one question under one policy each: what they mean, and the table of them.

Needs nothing beside Python: it is read where a model is asked, too.
"""

import math
import statistics

REFERENCE = "reference"  # transformers' own dense attention
HELD_OUT = "held_out"    # the task that is text which goes on, instead of a question
COUNTED = 0.8  # a task that the reference solves more rarely says nothing about a policy


def header(config):
    """The first line of a file of rows."""
    return {"format": "doublep-accuracy", "version": 1, "config": config}


def loss_header(config, **more):
    """The first line of a file of experiments/loss_by_layer.py, with what else its rows depend on."""
    return {"format": "doublep-loss-by-layer", "version": 1, "config": config} | more


def key(row):
    return row["model"], row["task"], row["length"], row["question"], row["policy"]


def counts(rows):
    """Rows of the reference: does it solve the task?"""
    return bool(rows) and sum(row["solved"] for row in rows) >= COUNTED * len(rows)


def interval(good, of, z=1.959964):
    """Wilson's 95 % interval of a share."""
    share, spread = good / of, z * z / of
    middle, half = share + spread / 2, z * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def average(rows, name):
    values = [row[name] for row in rows if row[name] is not None]
    return statistics.fmean(values) if values else None


def mean(rows, name, digits):
    value = average(rows, name)
    return "-" if value is None else f"{value:.{digits}f}"


def cells_line(*cells):  # analysis.table's grid would want matplotlib where a model is asked
    return "| " + " | ".join(cells) + " |"


def table(config, rows):
    """Markdown: for every model and length a row a policy, over the tasks that count; then the tasks."""
    lines = []
    policies = [REFERENCE] + [policy["name"] for policy in config["policies"]]
    for model in (entry["name"] for entry in config["models"]):
        for length in config["lengths"]:
            here = [row for row in rows if row["model"] == model and row["length"] == length]
            if here:
                lines += [f"## {model}, {length} tokens", ""] + answers(config, here, policies) + going_on(here, policies)
    return "\n".join(lines or ["No row yet."])


def answers(config, here, policies):
    if not config["tasks"]:
        return []

    def of(task, policy):
        return [row for row in here if row["task"] == task and row["policy"] == policy]

    counted = [task for task in config["tasks"] if counts(of(task, REFERENCE))]
    lines = [f"Counted (the reference solves {COUNTED:.0%} at least): {', '.join(counted) or 'no task'}.", "",
             "| policy | solved | 95 % interval | KL, nats | worst task's KL | same top token | answer, tokens | "
             "bytes read |", "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for policy in policies:
        mine = [row for task in counted for row in of(task, policy)]
        if mine:
            good = sum(row["solved"] for row in mine)
            low, high = interval(good, len(mine))
            worst = max((of(task, policy) for task in counted), key=lambda rows: average(rows, "kl") or 0)
            lines.append(cells_line(policy, f"{good} of {len(mine)}", f"{low:.3f} to {high:.3f}", mean(mine, "kl", 4),
                                    mean(worst, "kl", 4), mean(mine, "same_top", 3), mean(mine, "answer_tokens", 1),
                                    mean(mine, "bytes_share", 3)))
    lines += ["", cells_line("task", *policies), cells_line("---", *["---"] * len(policies))]
    for task in config["tasks"]:
        cells = [f"{sum(row['solved'] for row in of(task, p))} of {len(of(task, p))}" if of(task, p) else "-"
                 for p in policies]
        lines.append(cells_line(task + ("" if task in counted else " (not counted)"), *cells))
    return lines + [""]


def going_on(here, policies):
    """The text that goes on: perplexity under the reference and every policy, of the same tokens."""
    mine = {policy: [row for row in here if row["task"] == HELD_OUT and row["policy"] == policy]
            for policy in policies}
    if not any(mine.values()):
        return []
    lines = ["| held-out text | tokens | perplexity | KL, nats | same top token | bytes read |",
             "| --- | --- | --- | --- | --- | --- |"]
    for policy, found in mine.items():
        if found:
            lines.append(cells_line(policy, str(sum(row["answer_tokens"] - 1 for row in found)),
                                    f"{math.exp(statistics.fmean(row['nll'] for row in found)):.3f}",
                                    mean(found, "kl", 4), mean(found, "same_top", 3), mean(found, "bytes_share", 3)))
    return lines + [""]
