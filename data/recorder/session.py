"""One recording from its options to the finished file."""
import os
import resource
import sys
import time

import torch
import transformers

from . import attention, prompt
from .dense import dense_outputs
from .encoding import RecordError
from .estimate import check_disk, estimate, size
from .generate import Decoding, generate
from .model import choose_dtype, end_tokens, find, load_config, load_model, load_tokenizer
from .trace_file import TraceFile

ATTRIBUTE_LIMIT = 60000  # bytes; HDF5 keeps attributes below 64 KiB


class Teller:
    """Progress on stderr: in place on a terminal, elsewhere a line every ten seconds at most."""

    def __init__(self, stream):
        self.stream, self.in_place, self.width, self.last = stream, stream.isatty(), 0, 0.0

    def line(self, text):
        if self.width:
            print(file=self.stream)
        self.width = 0
        print(text, file=self.stream, flush=True)

    def progress(self, text):
        if self.in_place:
            print("\r" + text.ljust(self.width), end="", file=self.stream, flush=True)
            self.width = len(text)
        elif time.monotonic() - self.last >= 10:
            self.last = time.monotonic()
            print(text, file=self.stream, flush=True)


def layer_list(text, count):
    """The sorted layers of "all" or "2,9,20-23"."""
    if text == "all":
        return list(range(count))
    chosen = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        try:
            run = range(int(first), int(last or first) + 1)
        except ValueError:
            raise RecordError(f"--layers {text}: expected all, or a list like 2,9,20-23")
        if not run or run[-1] >= count:
            raise RecordError(f"--layers {text}: the model has layers 0 .. {count - 1}")
        chosen.update(run)
    return sorted(chosen)


def device_bytes(device):
    return torch.cuda.max_memory_allocated(device) if device.startswith("cuda") else 0


def peak_memory(device):
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    text = f"{size(host)} of host memory"
    return text + (f", {size(device_bytes(device))} of {device}'s" if device_bytes(device) else "")


def tell_estimate(needs, dtype, tokens, layers, tell):
    tell(f"{tokens} tokens, {layers} layers recorded; computed: file {size(needs.file)}, memory "
         f"{size(needs.memory)} (weights {size(needs.weights)} in {str(dtype)[6:]}, KV cache "
         f"{size(needs.cache)}, working {size(needs.working)})")


def record(options):
    began = time.monotonic()
    teller = Teller(sys.stderr)
    if options.threads:
        torch.set_num_threads(options.threads)
    source = find(options.model)
    config = load_config(source)
    text_config = config.get_text_config()
    layers = layer_list(options.layers, text_config.num_hidden_layers)
    dtype = choose_dtype(options.dtype, config, source)
    tokenizer, ids = None, []
    if options.prompt_kind:
        tokenizer = load_tokenizer(source)
        path = getattr(options, options.prompt_kind)
        ids = prompt.load(options.prompt_kind, path, tokenizer, text_config.vocab_size)
        ids = prompt.fit(ids, path, options.prompt_tokens, options.prefill_queries, options.steps,
                         getattr(text_config, "max_position_embeddings", None))
    length = len(ids) or options.prompt_tokens
    needs = estimate(config, source, layers, length, options.steps, options.prefill_queries,
                     options.chunk, dtype, options.store)
    tell_estimate(needs, dtype, length + options.steps, len(layers),
                  print if options.dry_run else teller.line)
    if options.dry_run:
        return

    with TraceFile(options.out, length, options.steps, options.prefill_queries, options.store,
                   teller.line) as sink:
        check_disk(options.out, needs.file)
        model = load_model(source, config, dtype, options.device, attention.NAME)
        decoding = Decoding(options.temperature, options.top_p, options.seed,
                            end_tokens(model, tokenizer), options.ignore_end)
        with attention.Recording(sink, layers) as recording:
            answer = run(model, recording, ids, options, decoding, teller)
        if not answer:
            raise RecordError("the model ended its answer before the first step; ask otherwise, or "
                              "use --ignore-end")
        if len(answer) < options.steps:
            teller.line(f"the answer ended after {len(answer)} of {options.steps} steps; the trace "
                        "holds these (--ignore-end records them all)")
            sink.shorten(len(answer))
        del model
        teller.progress("outputs, in float64 from what is stored")
        sink.write_outputs(lambda *stored: dense_outputs(*stored, device=options.device))
        text = tokenizer.decode(answer) if tokenizer else " ".join(map(str, answer))
        sink.file["token_ids"] = ids + answer
        sink.finish(
            model=options.name or os.path.basename(os.path.abspath(source.shown)),
            task=options.task, seed=options.prompt_seed, prompt_tokens=length, answer=clip(text),
            decoding=str(decoding), device_bytes=device_bytes(options.device),
            recorder=f"record_hf.py: transformers {transformers.__version__}, PyTorch "
                     f"{torch.__version__}, {options.device}, {str(dtype)[6:]}")
    teller.line(f"{options.out}: {size(os.path.getsize(options.out))}, {len(answer)} steps after "
                f"{length} tokens, {time.monotonic() - began:.0f} s, {peak_memory(options.device)}")
    print(text)


def run(model, recording, ids, options, decoding, teller):
    try:
        return generate(model, recording, ids, options.steps, options.chunk, decoding,
                        options.device, teller.progress)
    except torch.OutOfMemoryError:
        raise RecordError(f"the prompt does not fit the memory of {options.device}; use a smaller "
                          "--chunk, a shorter prompt, or --device cpu")


def clip(text):
    """As an attribute can hold it."""
    stored = text.replace("\0", "").encode("utf-8", "replace")[:ATTRIBUTE_LIMIT]
    return stored.decode("utf-8", "ignore")
