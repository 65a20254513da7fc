#!/usr/bin/env python3
"""Replays a trace by policies written in PyTorch, as research code has them, beside doublep's, on the same cores.

  python3 experiments/benchmarks/torch_replay.py TRACE [--program build/cpu/experiments/doublep] [--rounds 3]

Two ways to attend a selection: `masks`, as frameworks for trying out policies do (keys and values repeated for every
query head, all scores, a mask over them), and `gather`, which reads the selected tokens only, head by head. The two
programs take turns; a figure is the median of the rounds' ratios. Counted is what a decode step takes, without
metrics, and apart from it what making the index takes. Needs torch and h5py.
"""
import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import h5py
import torch


def attend_by_mask(q, k, v, mask, scale, terms=None):
    """q [g, d]; mask [g, n]; terms: values [c, d] and log masses [g, c], -inf where a head has none."""
    group = q.shape[0]
    keys, values = k.expand(group, -1, -1).contiguous(), v.expand(group, -1, -1).contiguous()
    logits = (torch.matmul(q[:, None], keys.transpose(1, 2)) * scale)[:, 0]
    logits = logits.masked_fill(~mask, float("-inf"))
    if terms is not None:
        logits = torch.cat([logits, terms[1]], 1)
        values = torch.cat([values, terms[0].expand(group, -1, -1)], 1)
    weights = torch.softmax(logits, -1, dtype=torch.float32)
    return torch.matmul(weights[:, None], values)[:, 0]


def attend_gathered(q, k, v, mask, scale, terms=None):
    outputs = []
    for h in range(q.shape[0]):
        tokens = mask[h].nonzero()[:, 0]
        whole = len(tokens) == len(k)
        keys, values = (k, v) if whole else (k[tokens], v[tokens])
        logits = keys @ q[h] * scale
        if terms is not None:
            chosen = (terms[1][h] > float("-inf")).nonzero()[:, 0]
            logits = torch.cat([logits, terms[1][h, chosen]])
            values = torch.cat([values, terms[0][chosen]])
        outputs.append(torch.softmax(logits, -1) @ values)
    return torch.stack(outputs)


def nucleus(masses, p):
    """The smallest set of the last axis that holds the share p, as a mask."""
    shares, order = torch.sort(masses / masses.sum(-1, keepdim=True), dim=-1, descending=True)
    before = torch.cumsum(shares, -1) - shares
    return torch.zeros_like(masses, dtype=torch.bool).scatter(-1, order, before < p)


class Dense:
    name = "dense"

    def prefill(self, k, v, n):
        pass

    def step(self, q, k, v, scale, attend):
        return attend(q, k, v, torch.ones(q.shape[0], k.shape[0], dtype=torch.bool), scale)


class TopP(Dense):
    name = "oracle_top_p"

    def step(self, q, k, v, scale, attend):
        weights = torch.softmax(q @ k.T * scale, -1, dtype=torch.float32)
        return attend(q, k, v, nucleus(weights, 0.95), scale)


def zone(mask, sink=4, window=64):
    mask[:, :sink] = True
    mask[:, -window:] = True
    return mask


class Quest(Dense):
    name = "quest"

    def step(self, q, k, v, scale, attend, page=16, budget=1024):
        n, d = k.shape
        pages = (n + page - 1) // page
        whole = n // page
        if self.low.shape[0] < whole or pages > whole:  # the pages that grew
            fresh = k[self.low.shape[0] * page:whole * page].view(-1, page, d)
            self.low = torch.cat([self.low, fresh.amin(1)])
            self.high = torch.cat([self.high, fresh.amax(1)])
        low, high = self.low, self.high
        if pages > whole:
            rest = k[whole * page:]
            low, high = torch.cat([low, rest.amin(0)[None]]), torch.cat([high, rest.amax(0)[None]])
        bounds = torch.maximum(q[:, None] * low, q[:, None] * high).sum(-1)
        top = torch.topk(bounds, min(budget // page, pages), dim=-1).indices
        chosen = torch.zeros(q.shape[0], pages, dtype=torch.bool).scatter(1, top, True)
        mask = chosen.repeat_interleave(page, dim=1)[:, :n].clone()
        return attend(q, k, v, zone(mask), scale)

    def prefill(self, k, v, n):
        d = k.shape[1]
        rows = k[:n // 16 * 16].view(-1, 16, d)
        self.low, self.high = rows.amin(1), rows.amax(1)


class DoubleP(Dense):
    name = "double_p"

    def prefill(self, k, v, n, sink=4, window=64, per_cluster=16, iterations=4):
        self.begin, self.end = sink, n - window
        points = k[self.begin:self.end]
        clusters = len(points) // per_cluster
        centroids = points[torch.linspace(0, len(points) - 1, clusters).long()].clone()
        for _ in range(iterations):
            label = torch.empty(len(points), dtype=torch.long)
            for i in range(0, len(points), 4096):
                part = points[i:i + 4096]
                label[i:i + 4096] = torch.cdist(part, centroids).argmin(1)
            sizes = torch.bincount(label, minlength=clusters)
            sums = torch.zeros_like(centroids).index_add_(0, label, points)
            centroids = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], centroids)
        values = torch.zeros(clusters, v.shape[1]).index_add_(0, label, v[self.begin:self.end])
        self.label, self.sizes, self.centroids = label, sizes, centroids
        self.values = values / sizes.clamp(min=1)[:, None]

    def step(self, q, k, v, scale, attend, p1=0.95, p2=0.7):
        log_masses = q @ self.centroids.T * scale + torch.log(self.sizes.float())
        masses = torch.softmax(log_masses, -1)
        kept, refined = nucleus(masses, p1), nucleus(masses, p2)
        mask = torch.ones(q.shape[0], k.shape[0], dtype=torch.bool)
        mask[:, self.begin:self.end] = refined[:, self.label]
        terms = log_masses.masked_fill(~(kept & ~refined), float("-inf"))
        return attend(q, k, v, mask, scale, (self.values, terms))


def replay(trace, policy_type, attend, steps):
    """Seconds of index and of steps, and the mean output error against recorded outputs."""
    scale, group = trace["scale"], trace["group"]
    seconds, errors = [0.0, 0.0], []
    for layer in trace["layers"]:
        heads = range(layer["keys"].shape[0])
        start = time.perf_counter()
        policies = [policy_type() for _ in heads]
        for h in heads:
            policies[h].prefill(layer["keys"][h], layer["values"][h], trace["positions"][0] + 1)
        seconds[0] += time.perf_counter() - start
        for t in range(steps):
            n = trace["positions"][t] + 1
            start = time.perf_counter()
            output = torch.cat([policies[h].step(layer["queries"][t, h * group:(h + 1) * group], layer["keys"][h, :n],
                                                 layer["values"][h, :n], scale, attend) for h in heads])
            seconds[1] += time.perf_counter() - start
            truth = layer["outputs"][t]
            errors.append(((output - truth).norm(dim=-1) / truth.norm(dim=-1)).mean().item())
    return seconds, statistics.mean(errors)


def load(path):
    with h5py.File(path) as f:
        tensor = lambda x: torch.from_numpy(x[...]).float().contiguous()
        layers = [{name: tensor(f["layers"][i][name]) for name in ("keys", "values", "queries", "outputs")}
                  for i in sorted(f["layers"], key=int)]
        return {"layers": layers, "positions": f["positions"][...].tolist(), "scale": float(f.attrs["softmax_scale"]),
                "group": int(f.attrs["num_query_heads"]) // int(f.attrs["num_kv_heads"])}


def ours(program, trace, policy, threads, steps):
    with tempfile.TemporaryDirectory() as folder:
        config, result = Path(folder) / "s.yaml", Path(folder) / "r.h5"
        config.write_text(f"traces: ['{Path(trace).resolve()}']\nreplay: {{max_steps: {steps}}}\npolicies: [{policy}]\n")
        subprocess.run([program, "run", config, "-o", result, "--jobs", str(threads)], check=True, capture_output=True)
        with h5py.File(result) as f:
            run = next(iter(f["runs"].values()))
            layers, rows = run["layers"][...], run["rows"][...]
            return ([float(layers[name].sum()) for name in ("seconds_index", "seconds_steps")],
                    float(rows["output_error"].mean()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace")
    parser.add_argument("--program", default="build/cpu/experiments/doublep")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=0, help="0: all of the trace")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    trace = load(args.trace)
    steps = args.steps or len(trace["positions"])
    print("| policy | doublep, ms a step and layer | masks / doublep | gather / doublep | index: torch / doublep "
          "| mean error: doublep, torch |\n| --- | ---: | ---: | ---: | ---: | --- |")
    total = {"masks": [], "gather": []}
    for policy_type in (Dense, TopP, Quest, DoubleP):
        rounds = {"masks": [], "gather": [], "index": []}
        mine = []
        for _ in range(args.rounds):
            (index, seconds), error = ours(args.program, args.trace, policy_type.name, args.threads, steps)
            mine.append(seconds)
            for name, attend in (("masks", attend_by_mask), ("gather", attend_gathered)):
                (their_index, theirs), their_error = replay(trace, policy_type, attend, steps)
                rounds[name].append(theirs / seconds)
            rounds["index"].append(their_index / index if index > 1e-3 else float("nan"))
        for name, figures in total.items():
            figures.append(statistics.median(rounds[name]))
        middle = {name: statistics.median(figures) for name, figures in rounds.items()}
        print(f"| {policy_type.name} | {1e3 * statistics.median(mine) / steps / len(trace['layers']):.2f} "
              f"| {middle['masks']:.1f} | {middle['gather']:.1f} | {middle['index']:.1f} "
              f"| {error:.4f}, {their_error:.4f} |", flush=True)
    print(", ".join(f"geometric mean, {name}: {statistics.geometric_mean(figures):.1f}" for name, figures in total.items()))


if __name__ == "__main__":
    main()
