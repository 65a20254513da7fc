#!/usr/bin/env python3
"""Makes a prompt for record_hf.py --chat, as long as asked for and the same for the same seed.

  python3 data/make_prompt.py needle --model MODEL --tokens 8100 --out needle.txt

needle: documentation of libraries that do not exist, six numbers planted in it, two asked for.
code: this repository's own C++ sources, and the wish to have the first file explained.
Lengths are counted under MODEL's chat template (where it has none: as they are).
"""
import argparse
import glob
import os
import random
import sys

from recorder.documentation import Writer
from recorder.encoding import RecordError

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
FACTS, ASKED = 6, 2


def needle(seed, sections):
    """(text, the numbers asked for). The facts stand at even distances among the sections."""
    writer = Writer(seed)
    facts = [writer.fact() for _ in range(FACTS)]
    asked = writer.random.sample(facts, ASKED)
    parts = [writer.section() for _ in range(sections)]
    for i, (sentence, _, _) in reversed(list(enumerate(facts))):
        parts.insert((2 * i + 1) * sections // (2 * FACTS), sentence)
    question = " and ".join(what for _, what, _ in asked)
    return ("Read this reference.\n\n" + "\n".join(parts) + f"\nWhat is {question}? Name each "
            "with its number, then say in which section each was found.\n",
            [number for _, _, number in asked])


def code(seed, lines):
    """(text, nothing): the sources in an order of the seed's, as many lines as asked for."""
    files = sorted(glob.glob(os.path.join(ROOT, "core", "**", "*.cpp"), recursive=True))
    random.Random(seed).shuffle(files)
    text = []
    for name in files:
        text.append(f"// File: {os.path.relpath(name, ROOT)}")
        with open(name, encoding="utf-8") as file:
            text += file.read().splitlines() + [""]
    if lines > len(text):
        raise RecordError(f"the sources have only {len(text)} lines; ask for fewer tokens")
    first = os.path.relpath(files[0], ROOT)
    return ("\n".join(text[:lines]) + f"\n\nExplain step by step what {first}, the first of these "
            "files, does, and why.\n", [])


def longest(make, seed, tokens, count):
    """The longest prompt of at most so many tokens; `make` grows with its second argument."""
    low, high = FACTS, FACTS * 2
    while count(make(seed, high)[0]) <= tokens:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(make(seed, middle)[0]) <= tokens else (low, middle)
    return make(seed, low)


def counter(model):
    from recorder.model import find, load_config, load_tokenizer
    source = find(model)
    load_config(source)  # says what is wrong with the model
    tokenizer = load_tokenizer(source)
    if tokenizer is None:
        raise RecordError(f"{model}: comes without a tokenizer; no prompt can be made for it")

    def count(text):
        if not tokenizer.chat_template:
            return len(tokenizer(text)["input_ids"])
        return len(tokenizer.apply_chat_template([{"role": "user", "content": text}],
                                                 add_generation_prompt=True, tokenize=True,
                                                 return_dict=False))
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["needle", "code"])
    parser.add_argument("--model", required=True, help="whose tokenizer counts")
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    try:
        count = counter(options.model)
        make = {"needle": needle, "code": code}[options.kind]
        if count(make(options.seed, FACTS)[0]) > options.tokens:
            raise RecordError(f"--tokens {options.tokens}: the shortest {options.kind} prompt is "
                              "longer")
        text, numbers = longest(make, options.seed, options.tokens, count)
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(text)
    except (RecordError, OSError) as error:
        print(f"make_prompt.py: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {count(text)} tokens" + (f", asks for {numbers}" if numbers else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
