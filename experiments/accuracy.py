#!/usr/bin/env python3
"""Does the model still answer? Models x tasks x lengths x policies in the loop, and a table of it.

  python3 experiments/accuracy.py configs/accuracy.yaml --output results/accuracy.jsonl

Wants the package doublep, torch, transformers and PyYAML. A line of the output is one question under one policy;
interrupted, the same command continues. The table goes to standard output.
"""
import argparse
import json
import math
import os
import statistics
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(ROOT, "data"))

import tasks
from recorder.encoding import RecordError

KEYS = {"name", "models", "tasks", "lengths", "questions", "seed", "answer_tokens", "policies"}
REFERENCE = "reference"  # transformers' own dense attention
COUNTED = 0.8  # a task that the reference solves more rarely says nothing about a policy


class AccuracyError(ValueError):
    pass


def load_config(path):
    import yaml
    try:
        with open(path, encoding="utf-8") as file:
            config = yaml.safe_load(file)
    except (OSError, yaml.YAMLError) as error:
        raise AccuracyError(f"{path}: cannot be read ({' '.join(str(error).split())})")
    if not isinstance(config, dict) or set(config) != KEYS:
        raise AccuracyError(f"{path}: expected exactly the keys {', '.join(sorted(KEYS))}")
    for key, needs in (("models", {"name", "path"}), ("policies", {"name", "policy"})):
        names = [entry.get("name") for entry in config[key] if isinstance(entry, dict)]
        if len(names) != len(config[key]) or any(not needs <= set(entry) for entry in config[key]):
            raise AccuracyError(f"{path}: {key}: expected entries with {' and '.join(sorted(needs))}")
        if len(set(names)) < len(names) or REFERENCE in names:
            raise AccuracyError(f"{path}: {key}: names have to differ, and '{REFERENCE}' is taken")
    for task in config["tasks"]:
        if task not in tasks.TASKS:
            raise AccuracyError(f"{path}: tasks: no task '{task}'; expected one of {', '.join(tasks.TASKS)}")
    for model in config["models"]:
        model["path"] = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(path)), model["path"]))
    return config


class Store:
    """Rows of a file of JSON lines; its first line is the configuration, which has to be the same."""

    def __init__(self, path, config):
        header, self.rows, whole = {"format": "doublep-accuracy", "version": 1, "config": config}, [], 0
        if os.path.exists(path):
            with open(path, "rb") as file:
                lines = [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]
            try:
                found = [json.loads(line) for line in lines]
            except ValueError:
                raise AccuracyError(f"{path}: not a file of this program; name another --output")
            if found and found[0] != header:
                raise AccuracyError(f"{path}: written by another configuration; name another --output")
            self.rows, whole = found[1:], sum(map(len, lines))  # what a kill cut off is not a line
        self.file = open(path, "ab")
        self.file.truncate(whole)
        if not whole:
            self._write(header)
        self.done = {key(row) for row in self.rows}

    def _write(self, what):
        self.file.write(json.dumps(what).encode() + b"\n")
        self.file.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def add(self, row):
        self._write(row)
        self.rows.append(row)
        self.done.add(key(row))


def key(row):
    return row["model"], row["task"], row["length"], row["question"], row["policy"]


def measure(config, store, tell):
    from recorder import model as models

    from doublep import closed_loop, hf
    names = {policy["name"]: f"doublep_{i}" for i, policy in enumerate(config["policies"])}
    decodings = {policy["name"]: hf.register(**policy | {"name": names[policy["name"]]})
                 for policy in config["policies"]}
    for entry in config["models"]:
        left = [(task, length, question) for length in config["lengths"] for task in config["tasks"]
                for question in range(config["questions"])
                if any((entry["name"], task, length, question, policy) not in store.done
                       for policy in (REFERENCE, *names))]
        if not left:
            continue
        source = models.find(entry["path"])
        loaded = models.load_config(source)
        model = models.load_model(source, loaded, models.choose_dtype(entry.get("dtype", "auto"), loaded, source),
                                  entry.get("device", "cpu"), "sdpa")
        tokenizer = models.load_tokenizer(source)
        if tokenizer is None:
            raise AccuracyError(f"{entry['path']}: comes without a tokenizer; no question can be asked")
        ends = {tokenizer.eos_token_id} - {None}

        def encode(text):
            return tokenizer(text)["input_ids"]

        for task, length, number in left:
            question = tasks.make(task, config["seed"] + number, length, lambda text: len(encode(text)))
            ids, most = encode(question.text), min(question.answer_tokens, config["answer_tokens"])
            filled = closed_loop.Filled(model, ids)
            answer = filled.answer("sdpa", ends, most)
            for policy in (REFERENCE, *names):
                base = dict(model=entry["name"], task=task, length=length, question=number, policy=policy)
                if key(base) in store.done:
                    continue
                found, read = answer, dict(bytes_share=1.0, density=1.0)
                agreed = dict(kl=0.0, same_top=1.0)
                if policy != REFERENCE:
                    decodings[policy].reset()
                    found = filled.answer(names[policy], ends, most)
                    share, density = decodings[policy].bytes_share, decodings[policy].density
                    # An answer of one token is the prompt's: none was decoded, nothing read.
                    read = dict(bytes_share=None if math.isnan(share) else share,
                                density=None if math.isnan(density) else density)
                    agreed = dict(kl=None, same_top=None)
                    if len(answer) > 1:  # the reference's own answer is what both are made to say
                        rows = closed_loop.agreement(filled, answer, [names[policy]])[names[policy]]
                        agreed = dict(kl=float(rows["kl"].mean()), same_top=float(rows["same_top"].mean()))
                text = tokenizer.decode(found)
                store.add(base | dict(prompt_tokens=len(ids), answer_tokens=len(found), answer=text,
                                      solved=tasks.solved(question, text), score=tasks.score(question, text))
                          | agreed | read)
            tell(f"{entry['name']}, {length} tokens, {task}, question {number}")


def interval(good, of, z=1.959964):
    """Wilson's 95 % interval of a share."""
    share, spread = good / of, z * z / of
    middle, half = share + spread / 2, z * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def mean(rows, name, digits):
    values = [row[name] for row in rows if row[name] is not None]
    return f"{statistics.fmean(values):.{digits}f}" if values else "-"


def table(config, rows):
    """Markdown: for every model and length a row a policy, over the tasks that count; then the tasks."""
    lines = []
    policies = [REFERENCE] + [policy["name"] for policy in config["policies"]]
    for model in (entry["name"] for entry in config["models"]):
        for length in config["lengths"]:
            here = [row for row in rows if row["model"] == model and row["length"] == length]
            solved = {}
            for task in config["tasks"]:
                for policy in policies:
                    of = [row["solved"] for row in here if row["task"] == task and row["policy"] == policy]
                    solved[task, policy] = (sum(of), len(of))
            counted = [task for task in config["tasks"] if solved[task, REFERENCE][1] and
                       solved[task, REFERENCE][0] >= COUNTED * solved[task, REFERENCE][1]]
            lines += [f"## {model}, {length} tokens", "", f"Counted (the reference solves {COUNTED:.0%} at least): "
                      f"{', '.join(counted) or 'no task'}.", "",
                      "| policy | solved | 95 % interval | KL, nats | same top token | answer, tokens | bytes read |",
                      "| --- | --- | --- | --- | --- | --- | --- |"]
            for policy in policies:
                mine = [row for row in here if row["policy"] == policy and row["task"] in counted]
                if not mine:
                    continue
                good = sum(row["solved"] for row in mine)
                low, high = interval(good, len(mine))
                lines.append(f"| {policy} | {good} of {len(mine)} | {low:.3f} to {high:.3f} | "
                             f"{mean(mine, 'kl', 4)} | {mean(mine, 'same_top', 3)} | "
                             f"{mean(mine, 'answer_tokens', 1)} | {mean(mine, 'bytes_share', 3)} |")
            lines += ["", "| task | " + " | ".join(policies) + " |", "| --- |" + " --- |" * len(policies)]
            for task in config["tasks"]:
                cells = [f"{good} of {of}" if of else "-" for good, of in (solved[task, p] for p in policies)]
                lines.append(f"| {task}{'' if task in counted else ' (not counted)'} | " + " | ".join(cells) + " |")
            lines.append("")
    return "\n".join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--output", required=True, metavar="FILE.jsonl")
    parser.add_argument("--table-only", action="store_true", help="of what the output holds already")
    options = parser.parse_args(arguments)
    try:
        from doublep import InputError
    except ImportError as error:
        print(f"accuracy.py: {error}; `pip install .` makes the package", file=sys.stderr)
        return 2
    try:
        config = load_config(options.config)
        with Store(options.output, config) as store:
            if not options.table_only:
                measure(config, store, lambda line: print(line, file=sys.stderr, flush=True))
        print(table(config, store.rows))
    except (AccuracyError, InputError, RecordError, tasks.TaskError, OSError, ImportError) as error:
        print(f"accuracy.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("accuracy.py: interrupted; the same command continues", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
