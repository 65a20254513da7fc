"""Writes small result files in the format of experiments/RESULT_FORMAT.md, for the tests.

`write` takes exact rows, so that a test knows the answer; `realistic` models heads with a
power-law attention, so that a figure can be looked at before any real sweep exists:
`python3 tests/analysis/synthetic.py OUT.h5 [runs per policy] [traces] [layers] [heads]`.
"""

import hashlib
import json
import os
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from analysis import content_hash  # noqa: E402

INT32, INT64 = ("layer", "head", "kv_head", "step"), ("visible_tokens", "exact_tokens",
                                                     "approximated_clusters", "oracle_tokens")
REAL1 = ("exact_mass", "covered_mass", "output_error", "cosine", "lse_error", "predicted_error",
         "error_factor")
REAL2 = ("audited_mass", "audited_low", "audited_high") + tuple(
    f"{what}_{stage}" for what in ("bytes", "flops")
    for stage in ("index", "estimate", "select", "attend"))
ROW = np.dtype([(n, "<i4") for n in INT32] + [(n, "<i8") for n in INT64] +
               [(n, "<f8") for n in REAL1] + [("violation", "<i4"), ("error_violation", "<i4")] + [(n, "<f8") for n in REAL2])
LAYER = np.dtype([("layer", "<i4")] + [(n, "<f8") for n in (
    "index_memory_bytes", "index_build_bytes", "index_build_flops", "seconds_index",
    "seconds_steps", "dense_mismatch")])


def digits(*words):
    return hashlib.sha256("/".join(map(str, words)).encode()).hexdigest()[:16]


def trace(name="toy", layers=(0,), heads=1, kv_heads=1, steps=1, tokens=100, head_dim=8):
    return dict(name=name, path=f"data/{name}.h5", hash=digits("trace", name), model="toy model",
                task="toy task", num_tokens=tokens, num_query_heads=heads, num_kv_heads=kv_heads,
                head_dim=head_dim, num_steps=steps, layers=np.array(layers, dtype=np.int32))


def row(layer=0, head=0, step=0, **values):
    """One row: everything dense and exact unless said otherwise."""
    cells = dict(layer=layer, head=head, kv_head=0, step=step, visible_tokens=100,
                 exact_tokens=100, oracle_tokens=100, exact_mass=1.0, covered_mass=1.0,
                 cosine=1.0, error_factor=np.nan, audited_mass=np.nan, audited_low=np.nan, audited_high=np.nan)
    cells.update(values)
    out = np.zeros((), dtype=ROW)
    for name, value in cells.items():
        out[name] = value
    return out


def run(policy, rows, trace="0", order=0, target_p=0.95, kv_dtype="fp16", backend="cpu", label=None,
        target_error=np.nan, variant="", **parameters):
    return dict(policy=policy, trace=trace, order=order, target_p=target_p, target_error=target_error, kv_dtype=kv_dtype,
                backend=backend, label=label or policy, variant=variant, parameters=json.dumps(parameters),
                rows=np.array(rows, dtype=ROW))


def write(path, traces, runs, **root):
    attributes = dict(format="doublep-result", version=3, name="toy sweep", config="{}",
                      config_hash=digits("config"), seed=1, created="2026-01-02T03:04:05Z",
                      commit="0123abc", program_hash=digits("program"), compiler="g++ 12",
                      flags="-O2", cpu="toy cpu", threads=1, libraries="none")
    attributes.update(root)
    with h5py.File(path, "w") as file:
        for name, value in attributes.items():
            file.attrs[name] = value
        groups = file.create_group("traces")
        for index, item in enumerate(traces):
            groups.create_group(str(index)).attrs.update(item)
        groups = file.create_group("runs")
        for item in runs:
            item = dict(item)
            rows = item.pop("rows")
            name = traces[int(item["trace"])]["hash"]
            group = groups.create_group(digits(item["policy"], item["parameters"], name,
                                               item["backend"], item["kv_dtype"]))
            group.attrs.update({"title": "", "reads_every_key": 0, "seed": 0, **item})
            group.attrs.update(seconds=0.5, layers_replayed=np.unique(rows["layer"]),
                               steps_replayed=np.unique(rows["step"]))
            group["rows"] = rows
            layers = np.zeros(len(np.unique(rows["layer"])), dtype=LAYER)
            layers["layer"] = np.unique(rows["layer"])
            layers["dense_mismatch"] = 1e-6
            group["layers"] = layers
    return sign(path)


def sign(path):
    """Gives every group the hash of what it holds now, as if it had been written so."""
    with h5py.File(path, "r+") as file:
        for key, group in file["runs"].items():
            tables = [(name, group[name][()]) for name in ("rows", "layers")]
            group.attrs[content_hash.NAME] = content_hash.of_run(key, group.attrs, tables)
        if "traces" in file:
            file.attrs[content_hash.NAME] = content_hash.of_root(file)
    return path


# --- realistic sweeps -----------------------------------------------------------------------

QUALITY = {  # policy: (tokens per oracle token, bytes to estimate as a share of the keys)
    "oracle_top_k": (1.0, 1.0), "oracle_top_p": (1.0, 1.0), "cluster_top_k": (1.5, 1 / 16),
    "cluster_top_p": (1.6, 1 / 16), "double_p": (1.3, 1 / 16), "quest": (2.4, 1 / 8),
    "retroinfer": (2.0, 1 / 16), "cluster_kv": (2.2, 1 / 40), "twilight": (1.4, 0.4),
    "tactic": (1.7, 1 / 32), "vattention": (1.3, 0.9), "double_sparsity": (1.9, 1 / 8),
    "loki": (1.6, 1 / 4), "magicpig": (2.8, 0.3), "pqcache": (1.8, 0.1),
}


def model_rows(item, policy, p, rng, shift=1.0, terms=False, fixed=False):
    layers, heads, steps = item["layers"], item["num_query_heads"], item["num_steps"]
    group, n = heads // item["num_kv_heads"], item["num_tokens"]
    rows = np.zeros(len(layers) * heads * steps, dtype=ROW)
    rows["layer"] = np.repeat(layers, heads * steps)
    rows["head"] = np.tile(np.repeat(np.arange(heads), steps), len(layers))
    rows["kv_head"] = rows["head"] // group
    rows["step"] = np.tile(np.arange(steps), len(layers) * heads)
    who = np.random.default_rng(7)
    scale = np.repeat(n * 10 ** who.uniform(-3.2, -1.2, len(layers) * heads), steps)
    scale = scale * rng.lognormal(0, 0.35, len(rows))
    waste, estimate = QUALITY.get(policy, (1.5, 0.1))
    waste = waste * shift * rng.lognormal(0, 0.15, len(rows))
    reach = 1 - (1 + n / scale) ** -0.9

    def tokens_for(mass):
        return scale * ((1 - np.minimum(mass, 0.99999) * reach) ** (-1 / 0.9) - 1)

    ideal = tokens_for(np.full(len(rows), p))
    if fixed:
        ideal[:] = np.median(ideal)
    kept = np.clip(np.round(68 + ideal * waste), 68, n)
    mass = np.clip((1 - (1 + np.minimum(ideal * rng.uniform(0.8, 1.1, len(rows)) + 20, n) / scale)
                    ** -0.9) / reach, 0, 1)
    rows["visible_tokens"], rows["exact_tokens"], rows["exact_mass"] = n, kept, mass
    rows["approximated_clusters"] = n / 50 if terms else 0
    rows["covered_mass"] = 1 - (1 - mass) * (0.15 if terms else 1)
    rows["oracle_tokens"] = np.minimum(tokens_for(mass), n)
    rows["output_error"] = ((1 - mass) * (0.55 if terms else 1.0) * rng.lognormal(0, 0.3, len(rows))
                            * shift)
    rows["cosine"] = 1 - rows["output_error"] ** 2 / 2
    rows["lse_error"] = -np.log(np.maximum(mass, 1e-9))
    for name in ("audited_mass", "audited_low", "audited_high"):
        rows[name] = np.nan
    key = item["head_dim"] * 2
    rows["bytes_attend"] = np.minimum(kept * 1.5 / group, n / group) * 2 * key
    rows["bytes_estimate"] = estimate * n * key / group
    rows["bytes_select"] = n * 0.1
    return rows


def realistic(path, points=4, num_traces=1, layers=(4, 7), heads=8, steps=32, policies=None):
    rng = np.random.default_rng(1)
    shapes = (("needle-4k", 4096), ("code-8k", 8192), ("needle-16k", 16384), ("synth-64k", 65536),
              ("synth-256k", 262144))[:num_traces]
    traces = [trace(name, layers, heads, max(1, heads // 4), steps, n, 128) for name, n in shapes]
    runs = []

    def add(policy, index, rows, target=0.95, **parameters):
        rows["violation"] = rows["covered_mass"] < target
        runs.append(run(policy, rows, str(index), len(runs), target, **parameters))

    for index, item in enumerate(traces):
        dense = model_rows(item, "dense", 1.0, rng)
        dense["exact_tokens"] = dense["oracle_tokens"] = dense["visible_tokens"]
        dense["exact_mass"] = dense["covered_mass"] = dense["cosine"] = 1.0
        dense["output_error"] = 3e-7
        dense["bytes_estimate"] = dense["bytes_select"] = 0
        dense["bytes_attend"] = dense["visible_tokens"] * item["head_dim"] * 4 / 4
        add("dense", index, dense)
        small = model_rows(item, "streaming", 0.5, rng, fixed=True)
        small["exact_tokens"], small["bytes_estimate"] = 68, 0
        small["bytes_attend"], small["bytes_select"] = 68 * 512 / 4, 0
        small["exact_mass"] *= 0.8
        small["covered_mass"], small["output_error"] = small["exact_mass"], 0.6
        add("streaming", index, small, sink=4, window=64)
        for policy in policies or QUALITY:
            ladder = np.linspace(0.98, 0.7, points) if points > 1 else [0.9]
            if policy == "double_p":
                for estimator in ("jensen", "second_order"):
                    for p2 in ladder:
                        for outside in ("drop", "estimate"):
                            shift = {"jensen": 1.0, "second_order": 0.75}[estimator]
                            shift *= {"drop": 1.0, "estimate": 0.92}[outside]
                            rows = model_rows(item, policy, p2 - 0.1, rng, shift, terms=True)
                            add(policy, index, rows, 0.95, p1=0.95, p2=round(float(p2) - 0.1, 2),
                                estimator=estimator, outside=outside, sink=4)
            elif index and policy == "loki":
                continue  # missing on later traces
            else:
                fixed = policy in ("oracle_top_k", "quest", "cluster_kv", "loki", "pqcache")
                for p in ladder:
                    rows = model_rows(item, policy, float(p), rng, fixed=fixed)
                    if policy == "magicpig":
                        rows["output_error"][::97] = np.nan
                    name = dict(budget=int(p * 1000)) if fixed else dict(p=round(float(p), 3))
                    add(policy, index, rows, 0.95 if fixed else float(p), sink=4, **name)
    return write(path, traces, runs, name="realistic")


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[2:]] + [4, 1, 2, 8][len(sys.argv) - 2:]
    realistic(sys.argv[1], numbers[0], numbers[1], tuple(range(numbers[2])), numbers[3])
