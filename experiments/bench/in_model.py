#!/usr/bin/env python3
"""What a decoded token of a model takes under policies, beside transformers' own attentions.

  python3 experiments/bench/in_model.py MODEL --length 8192 32256 --policy '{"policy": "quest", "budget": 0.04}' ...

MODEL: a folder or a .gguf file. The prompt is this repository's own sources; the tokens after it are forced, so
that every attention decodes the same ones. Milliseconds a token of the whole model, batch 1: median over tokens,
after the first few, and the first token's, which builds the index. Ratio: to sdpa in the same run.
"""
import argparse
import json
import os
import statistics
import sys
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path[:0] = [os.path.join(ROOT, "data"), os.path.join(ROOT, "experiments")]

import torch

import accuracy
import tasks
from doublep import hf

WARM_UP = 4


def timed(filled, attention, ids):
    """Seconds of each decoded token of ids."""
    left, marks = list(ids), []

    def choose(logits):
        if logits.is_cuda:
            torch.cuda.synchronize()
        marks.append(time.perf_counter())
        return left.pop(0) if left else None

    filled.decode(attention, choose)
    return [after - before for before, after in zip(marks, marks[1:])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--length", type=int, nargs="+", default=[8192])
    parser.add_argument("--tokens", type=int, default=48, help="decoded ones")
    parser.add_argument("--policy", type=json.loads, action="append", default=[], metavar="JSON",
                        help="what doublep.hf.register takes")
    parser.add_argument("--reference", nargs="+", default=["sdpa"], help="attentions of transformers")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    loaded = accuracy.Loaded(dict(name="model", path=options.model, device=options.device, dtype=options.dtype,
                                  chunk=4096))
    decodings = [hf.register(**given, name=f"doublep_{i}") for i, given in enumerate(options.policy)]
    if not decodings:
        hf.register("dense", name="doublep_none")  # whose prompt keeps its queries
    rows = []
    print(f"{'tokens':>8} {'first, ms':>10} {'token, ms':>10} {'of sdpa':>8} {'bytes':>6}  attention")
    for length in options.length:
        text = tasks.held_out(0, length, lambda text: len(loaded.encode(text)))
        ids = loaded.encode(text)
        filled = loaded.fill(ids[:-options.tokens])
        base = None
        names = options.reference + [f"doublep_{i}" for i in range(len(decodings))]
        for name in names:
            given = None if name in options.reference else options.policy[int(name.rsplit("_", 1)[1])]
            decoding = decodings[int(name.rsplit("_", 1)[1])] if given else None
            timed(filled, name, ids[-options.tokens:][:WARM_UP])
            if decoding:
                decoding.reset()
            seconds = timed(filled, name, ids[-options.tokens:])
            token = statistics.median(seconds[WARM_UP:]) * 1e3
            base = base or token
            row = dict(tokens=length, attention=json.dumps(given) if given else name, first_ms=seconds[0] * 1e3,
                       token_ms=token, ratio=token / base, bytes_share=decoding.bytes_share if decoding else 1.0)
            rows.append(row)
            print(f"{length:8d} {row['first_ms']:10.2f} {token:10.2f} {row['ratio']:8.2f} {row['bytes_share']:6.3f}  "
                  f"{row['attention']}", flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(dict(format="doublep-in-model", version=1, model=os.path.basename(options.model),
                           device=torch.cuda.get_device_name() if options.device != "cpu" else "cpu",
                           torch=torch.__version__, rows=rows), file, indent=1)


if __name__ == "__main__":
    main()
