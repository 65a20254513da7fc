#!/usr/bin/env python3
"""Times PyTorch's scaled_dot_product_attention for one decode step on this machine's GPU.

The same shapes as `doublep bench` (32 query heads, 8 KV heads, head_dim 128, bf16), measured the same
way: a CUDA graph replayed from a cold L2, CUDA events around it, the median of many. Each backend runs
in the layouts that it takes: grouped heads as they are (enable_gqa), and with the group's four queries
as four rows of one head, which decoding without a mask allows; the faster one counts.
"""
import argparse
import json
import statistics

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}


def time_graph(run, cold, repeats):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    times = []
    for i in range(repeats + 3):
        cold.sum()  # reads 256 MiB: nothing of the caches is left in L2
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        if i >= 3:
            times.append(1e3 * begin.elapsed_time(end))
    return statistics.median(times)


def variants(q, k, v):
    """Name and call of each layout. q: [batch, heads, 1, d]; k, v: [batch, kv_heads, context, d]."""
    batch, heads, _, d = q.shape
    rows = q.view(batch, k.shape[1], heads // k.shape[1], d)
    return {"gqa": lambda: sdpa(q, k, v, enable_gqa=True), "rows": lambda: sdpa(rows, k, v)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contexts", type=int, nargs="+",
                        default=[8192, 32768, 65536, 131072, 524288, 1048576])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--memory", type=float, default=44, help="GiB of keys and values at most")
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args()
    cold = torch.zeros(64 << 20, dtype=torch.float32, device="cuda")
    points = []
    print(f"PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, "
          f"{torch.cuda.get_device_name()}; us, median of {args.repeats}")
    for batch in args.batches:
        for context in args.contexts:
            if batch * context * 4096 / 2**30 > args.memory:
                continue
            make = lambda heads, n: torch.randn(batch, heads, n, 128, device="cuda",
                                                dtype=torch.bfloat16)
            q, k, v = make(32, 1), make(8, context), make(8, context)
            for name, backend in BACKENDS.items():
                for layout, run in variants(q, k, v).items():
                    try:
                        with sdpa_kernel(backend):
                            microseconds = time_graph(run, cold, args.repeats)
                    except RuntimeError as error:  # this backend does not take this layout
                        print(f"{name:6} {layout:5} batch {batch:3} context {context:8}: "
                              f"{str(error).splitlines()[0][:70]}")
                        continue
                    print(f"{name:6} {layout:5} batch {batch:3} context {context:8}: "
                          f"{microseconds:9.1f}", flush=True)
                    points.append({"backend": name, "layout": layout, "batch": batch,
                                   "context": context, "step_us": microseconds})
            del q, k, v
            torch.cuda.empty_cache()
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"torch": torch.__version__, "cudnn": torch.backends.cudnn.version(),
                       "device": torch.cuda.get_device_name(), "points": points}, file, indent=1)


if __name__ == "__main__":
    main()
