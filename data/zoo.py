#!/usr/bin/env python3
"""Records the zoo's traces, measures what that takes, and writes README.md's table of it.

  python3 data/zoo.py record NAME MODEL --out DIR     one trace
  python3 data/zoo.py table ROW.json...               adds rows (or lists of them) to zoo.json

A trace is recorded by the commands that the table shows, nothing else: make_prompt.py and
record_hf.py. Beside DIR/<trace>.h5 its row lies in DIR/<trace>.json.
"""
import argparse
import glob
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
README, ROWS = os.path.join(HERE, "README.md"), os.path.join(HERE, "zoo.json")
BEGIN, END = "<!-- zoo: written by zoo.py table -->\n", "<!-- end of zoo -->\n"
STEPS = 64

# Layers: early, middle and late ones; of Gemma, which looks back 512 tokens in the others, those
# that see everything.
LAYERS = {"smollm2-135m": "3,15,27", "qwen2.5-coder-0.5b": "3,10,17,22",
          "qwen2.5-coder-1.5b": "2,9,17,27", "gemma-3-270m": "5,11,17"}

# Published without a chat template: its prompt is read as text.
AS_TEXT = {"gemma-3-270m"}

# What was not recorded here: the shape is public, the figures are record_hf.py --dry-run's.
LLAMA_8B = dict(model_type="llama", hidden_size=4096, intermediate_size=14336,
                num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
                vocab_size=128256, max_position_embeddings=131072, tie_word_embeddings=False,
                dtype="bfloat16")


def run(command):
    """Runs to the end; (wall seconds, CPU seconds, largest resident bytes of that process)."""
    print("+", shlex.join(command), flush=True)
    began = time.monotonic()
    child = subprocess.Popen(command)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"zoo.py: failed with {child.returncode}: {shlex.join(command)}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def dense_mismatch(program, trace):
    """Largest |dense - outputs| / |outputs| over layers, steps and heads, as doublep computes it
    from the stored keys, values and queries."""
    import h5py
    subprocess.run([program, "validate", trace], check=True)
    with tempfile.TemporaryDirectory() as folder:
        sweep, result = os.path.join(folder, "dense.yaml"), os.path.join(folder, "dense.h5")
        with open(sweep, "w") as file:
            json.dump({"name": "dense", "traces": [os.path.abspath(trace)],
                       "policies": [{"policy": "dense"}]}, file)
        subprocess.run([program, "run", sweep, "--output", result], check=True)
        found = []
        with h5py.File(result) as file:
            file.visititems(lambda name, data: found.append(data["dense_mismatch"].max())
                            if name.endswith("/layers") else None)
    return float(max(found))


def machine(device):
    if device == "cpu":
        return f"CPU ({platform.machine()}, {os.cpu_count()} cores)"
    import torch
    return torch.cuda.get_device_name(device)


def record(options):
    import h5py
    os.makedirs(options.out, exist_ok=True)
    trace = os.path.join(options.out, f"{options.name}-{options.kind}-{options.tokens // 1024}k")
    prompt = [sys.executable, os.path.join(HERE, "make_prompt.py"), options.kind, "--model",
              options.model, "--tokens", str(options.tokens - STEPS), "--seed",
              str(options.seed), "--out", trace + ".txt"]
    recorder = [sys.executable, os.path.join(HERE, "record_hf.py"), options.model,
                "--text" if options.name in AS_TEXT else "--chat", trace + ".txt", "--layers", LAYERS[options.name], "--steps", str(STEPS),
                "--dtype", options.dtype, "--device", options.device, "--task", options.kind,
                "--name", options.name, "--prompt-seed", str(options.seed), "--ignore-end", "--out",
                trace + ".h5"]
    if options.threads:
        recorder += ["--threads", str(options.threads)]
    run(prompt)
    seconds, cpu_seconds, host = run(recorder)
    with h5py.File(trace + ".h5") as file:
        row = {"trace": os.path.basename(trace), "model": options.name, "task": options.kind,
               "tokens": int(file.attrs["num_tokens"]), "steps": int(file["positions"].shape[0]),
               "layers": LAYERS[options.name], "dtype": options.dtype,
               "machine": machine(options.device), "seconds": round(seconds),
               "cpu_seconds": round(cpu_seconds), "host_bytes": host,
               "device_bytes": int(file.attrs["device_bytes"]), "answer": file.attrs["answer"]
               .decode(), "seed": options.seed, "device": options.device}
    row["file_bytes"] = os.path.getsize(trace + ".h5")
    if options.doublep:
        row["dense_mismatch"] = dense_mismatch(options.doublep, trace + ".h5")
    with open(trace + ".json", "w") as file:
        json.dump(row, file, indent=1)
    print(json.dumps(row))


def computed():
    """Rows of a Llama-3.1-8B at lengths of its context: nothing is measured."""
    from recorder import estimate, model
    import torch
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump(LLAMA_8B, file)
        source = model.find(folder)
        config = model.load_config(source)
        for tokens, layers in ((32768, [2, 10, 20, 30]), (131072, [2, 10, 20, 30]),
                               (131072, list(range(32)))):
            needs = estimate.estimate(config, source, layers, tokens - STEPS, STEPS, 256, 1024,
                                      torch.bfloat16, "auto")
            rows.append({"model": "llama-3.1-8b", "tokens": tokens, "steps": STEPS,
                         "layers": "all" if len(layers) == 32 else ",".join(map(str, layers)),
                         "dtype": "bfloat16", "device": "cuda", "device_bytes": needs.memory,
                         "file_bytes": needs.file, "task": "needle", "seed": 0})
    return rows


def size(count):
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def table(rows):
    lines = ["| trace | machine | layers | file | time (of CPUs) | memory | dense against `outputs` |",
             "| --- | --- | --- | ---: | ---: | ---: | ---: |"]
    for row in rows:
        name = f"{row['model']}, {row['tokens']} tokens, {row['task']}"
        memory = size(row["device_bytes"]) + " GPU" if row["device_bytes"] else ""
        if "seconds" in row:
            memory = size(row["host_bytes"]) + (", " + memory if memory else "")
            mismatch = f"{row['dense_mismatch']:.1e}" if "dense_mismatch" in row else "not run"
            lines.append(f"| {name} | {row['machine']}, {row['dtype']} | {row['layers']} | "
                         f"{size(row['file_bytes'])} | {row['seconds']} s ({row['cpu_seconds']} s) | "
                         f"{memory} | "
                         f"{mismatch} |")
        else:
            lines.append(f"| {name} | computed, not measured ({row['dtype']}) | {row['layers']} | "
                         f"{size(row['file_bytes'])} | | {memory} | |")
    return "\n".join(lines) + "\n"


def replace_table(text, rows):
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[:begin] + "\n" + table(rows) + "\n" + text[end:]


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def write_table(options):
    known = {(row["model"], row["tokens"], row["task"], row["machine"]): row
             for row in (read_rows(ROWS) if os.path.exists(ROWS) else []) if "seconds" in row}
    for name in options.rows:
        for path in glob.glob(name):
            found = read_rows(path)
            for row in found if isinstance(found, list) else [found]:
                known[row["model"], row["tokens"], row["task"], row["machine"]] = row
    rows = sorted(known.values(), key=lambda row: (list(LAYERS).index(row["model"]), row["tokens"],
                                                   row["machine"])) + computed()
    with open(ROWS, "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=1)
        file.write("\n")
    with open(README, encoding="utf-8") as file:
        text = file.read()
    with open(README, "w", encoding="utf-8") as file:
        file.write(replace_table(text, rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("record")
    one.add_argument("name", choices=LAYERS)
    one.add_argument("model", help="its folder or .gguf file")
    one.add_argument("--out", required=True, help="folder of traces")
    one.add_argument("--kind", choices=["needle", "code"], default="needle")
    one.add_argument("--tokens", type=int, default=8192)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--device", default="cpu")
    one.add_argument("--dtype", default="auto")
    one.add_argument("--threads", type=int)
    one.add_argument("--doublep", help="the program: validates and replays the trace")
    one.set_defaults(do=record)
    rows = commands.add_parser("table")
    rows.add_argument("rows", nargs="*")
    rows.set_defaults(do=write_table)
    options = parser.parse_args()
    options.do(options)


if __name__ == "__main__":
    main()
