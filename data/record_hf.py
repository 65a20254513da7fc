#!/usr/bin/env python3
"""Records a kv-trace (TRACE_FORMAT.md) from a Hugging Face causal language model: what decode
attention saw while it answered a prompt.

  python3 data/record_hf.py MODEL --chat question.txt --out mine.h5
"""
import argparse
import os
import signal
import sys


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", help="a model's folder, a .gguf file, or a name in the local cache")
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--text", metavar="FILE", help="the prompt as it is")
    prompt.add_argument("--chat", metavar="FILE",
                        help="the user's message, put under the model's chat template; or a .json "
                             "list of {role, content}")
    prompt.add_argument("--token-ids", metavar="FILE", help="the prompt as numbers")
    add("--out", required=True, metavar="FILE.h5")
    add("--prompt-tokens", type=whole(1), metavar="N",
        help="of a text or of token ids, only the first N")
    add("--layers", default="all", help="all, or a list like 2,9,20-23 (default: %(default)s)")
    add("--steps", type=whole(1), default=64, help="decode steps to record (default: %(default)s)")
    add("--prefill-queries", type=whole(0), default=256, metavar="P",
        help="record the queries of the prompt's last P tokens too (default: %(default)s)")
    add("--temperature", type=number(0, 100), default=0.0,
        help="sample the answer; 0 is greedy (default: %(default)s)")
    add("--top-p", type=number(1e-6, 1), default=1.0, help="sample from this mass (default: 1)")
    add("--seed", type=whole(0), default=0, help="of the sampling (default: %(default)s)")
    add("--ignore-end", action="store_true",
        help="never end the answer; without it the trace ends with the answer")
    add("--device", default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")
    add("--dtype", choices=["auto", "bfloat16", "float16", "float32"], default="auto",
        help="the model computes in (auto: as published; a GGUF file: bfloat16)")
    add("--store", choices=["auto", "bfloat16", "float32"], default="auto",
        help="the trace stores (auto: float16, and bfloat16 where a value does not fit)")
    add("--chunk", type=whole(1), default=1024,
        help="prompt tokens a forward pass (default: %(default)s)")
    add("--threads", type=whole(1), help="of the CPU (default: all)")
    add("--task", default="language-modelling", help="stored for people (default: %(default)s)")
    add("--name", help="of the model, stored for people (default: its folder's or file's)")
    add("--prompt-seed", type=whole(0), default=0, help="of whatever made the prompt, stored")
    add("--dry-run", action="store_true",
        help="only tell what it would take; --prompt-tokens alone is enough of a prompt")
    options = parser.parse_args()
    options.prompt_kind = next((kind for kind in ("text", "chat", "token_ids")
                                if getattr(options, kind)), None)
    if not options.prompt_kind and not (options.dry_run and options.prompt_tokens):
        parser.error("one of --text, --chat and --token-ids is needed")
    if options.prompt_kind == "chat" and options.prompt_tokens:
        parser.error("--prompt-tokens would cut a conversation's end off; shorten --chat itself")
    return options


def whole(low):
    def integer(text):
        value = int(text)
        if value < low:
            raise ValueError
        return value
    return integer


def number(low, high):
    def real(text):
        value = float(text)
        if not low <= value <= high:
            raise ValueError
        return value
    return real


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves nothing behind, like Ctrl-C
    os.environ.setdefault("TQDM_DISABLE", "1")  # bars of transformers' parts, before it is loaded
    try:
        from recorder.encoding import RecordError
        from recorder.session import record
    except ImportError as error:
        needs = os.path.join(os.path.dirname(os.path.abspath(__file__)), "requirements.txt")
        print(f"record_hf.py: {error}; pip install -r {needs}", file=sys.stderr)
        return 2
    try:
        record(options)
    except RecordError as error:
        print(f"\nrecord_hf.py: {error}" if sys.stderr.isatty() else f"record_hf.py: {error}",
              file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nrecord_hf.py: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
