#!/usr/bin/env python3
"""Where does a policy lose? Questions of experiments/accuracy.py with the policy in one layer alone, and every head's error.

  python3 experiments/loss_by_layer.py configs/accuracy.yaml --task niah_multiquery --length 16384 \\
      --policy "Best .015" --output results/loss_by_layer.jsonl

A line of the output is one question under one policy, teacher-forced with the model's own answer: `kl`, nats, with
the policy in every layer; `alone`, {layer: kl} with it in that layer and dense attention in all others; `errors`,
{layer: [heads]}, mean over decoded tokens of ||output - dense|| / ||dense|| with it in every layer. Interrupted, the
same command continues. `python3 -m analysis.loss_by_layer` makes the table and the picture.
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import accuracy
import tasks
from analysis.answers import loss_header


def losses(filled, layers, policy, ids, predicted, alone_in):
    """The figures of a line. policy: as the configuration has it, without its name; alone_in: layers, or None for all."""
    from doublep import closed_loop, hf

    def kl(**options):
        decoding = hf.register(**policy, name="doublep_by_layer", **options)
        rows = closed_loop.agreement(filled, ids, ["doublep_by_layer"], predicted)["doublep_by_layer"]
        return rows, decoding

    rows, decoding = kl(errors=True)
    errors = {str(layer): found.mean(0).tolist() for layer, found in decoding.errors.items()}
    found = dict(kl=float(rows["kl"].mean()), same_top=float(rows["same_top"].mean()),
                 bytes_share=decoding.bytes_share, errors=errors)
    alone = {str(layer): float(kl(dense_layers=set(range(layers)) - {layer})[0]["kl"].mean())
             for layer in map(int, errors) if alone_in is None or layer in alone_in}
    return found | dict(alone=alone)


def measure(config, entry, options, store):
    loaded = accuracy.Loaded(entry)
    store.expect_ends(loaded)
    layers = loaded.model.config.get_text_config().num_hidden_layers
    policies = {p["name"]: {k: v for k, v in p.items() if k != "name"} for p in config["policies"]
                if p["name"] in options.policy}
    cells = [(number, accuracy.Cell(config, loaded, length, task)) for number in options.question
             for length in options.length for task in options.task]
    from doublep import hf
    hf.register("dense", name="doublep_by_layer")  # the prompt keeps its queries under any
    for number, cell in cells[options.shard[0] - 1::options.shard[1]]:
        left = [p for p in policies if accuracy.key(cell.base(number, p)) not in store.done]
        if not left:
            continue
        question, ids = cell.ask(number)
        filled = loaded.fill(ids)
        _, (said, predicted) = cell.reference(question, filled)
        said = said if cell.task == accuracy.HELD_OUT else said.ids
        for name in left if len(said) > 1 else []:
            store.add(cell.base(number, name) | dict(prompt_tokens=len(ids), decoded=len(said) - 1)
                      | losses(filled, layers, policies[name], said, predicted, options.alone_in))
            accuracy.tell(f"{loaded.name}, {cell.length} tokens, {cell.task}, question {number}, {name}")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--output", required=True, metavar="FILE.jsonl")
    parser.add_argument("--model", metavar="NAME", help="of the configuration's; the first without it")
    parser.add_argument("--policy", nargs="+", required=True, metavar="NAME", help="of the configuration's")
    parser.add_argument("--task", nargs="+", default=[accuracy.HELD_OUT], help="(default: %(default)s)")
    parser.add_argument("--length", nargs="+", type=int, required=True)
    parser.add_argument("--question", nargs="+", type=int, default=[0], help="their numbers (default: %(default)s)")
    parser.add_argument("--alone-in", nargs="*", type=int, metavar="LAYER",
                        help="have the policy alone in these layers only, or in none: each takes as long as an answer")
    parser.add_argument("--shard", type=accuracy.part, default=(1, 1), metavar="I/N")
    options = parser.parse_args(arguments)

    def work():
        config = accuracy.load_config(options.config)
        for what, asked, known in (("--policy", options.policy, [p["name"] for p in config["policies"]]),
                                   ("--model", [options.model] if options.model else [],
                                    [m["name"] for m in config["models"]]),
                                   ("--task", options.task, [*tasks.TASKS, accuracy.HELD_OUT])):
            for name in asked:
                if name not in known:
                    raise accuracy.AccuracyError(f"{what}: no '{name}'; expected one of {', '.join(known)}")
        for given in config["policies"]:
            if given["name"] in options.policy and {"dense_layers", "errors"} & set(given):
                raise accuracy.AccuracyError(f"{options.config}: policies: {given['name']}: has dense_layers or errors, which this "
                                             "program sets; leave them out")
        entry = next(m for m in config["models"] if options.model in (None, m["name"]))
        with accuracy.Store(options.output, loss_header(config, alone_in=options.alone_in)) as store:
            measure(config, accuracy.located(entry, options.config), options, store)

    return accuracy.exit_code("loss_by_layer.py", work)


if __name__ == "__main__":
    sys.exit(main())
