#!/usr/bin/env python3
"""Makes a prompt for record_hf.py --chat, as long as asked for and the same for the same seed.

  python3 data/make_prompt.py needle --model MODEL --tokens 8100 --out needle.txt

needle: documentation of libraries that do not exist, six numbers planted in it, two asked for.
code: this repository's own C++ sources, and the wish to have the first file explained.
Lengths are counted under MODEL's chat template (where it has none: as they are).
"""
import argparse
import random
import sys
from typing import NamedTuple

from recorder.documentation import Writer
from recorder.encoding import RecordError
from tasks import TaskError, longest
from tasks.code import sources

FACTS, ASKED = 6, 2


class Prompt(NamedTuple):
    text: str
    numbers: list  # that are asked for


def needle(seed, sections):
    """The facts stand at even distances among the sections."""
    writer = Writer(seed)
    facts = [writer.fact() for _ in range(FACTS)]
    asked = writer.random.sample(facts, ASKED)
    parts = [writer.section() for _ in range(sections)]
    for i, (sentence, _, _) in reversed(list(enumerate(facts))):
        parts.insert((2 * i + 1) * sections // (2 * FACTS), sentence)
    question = " and ".join(what for _, what, _ in asked)
    return Prompt("Read this reference.\n\n" + "\n".join(parts) + f"\nWhat is {question}? Name each "
                  "with its number, then say in which section each was found.\n",
                  [number for _, _, number in asked])


def code(seed, lines):
    """The sources in an order of the seed's, as many lines as asked for."""
    text, first = sources(random.Random(seed), lines)
    return Prompt(f"{text}\n\nExplain step by step what {first}, the first of these files, does, and why.\n", [])


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
        text, numbers = longest(lambda size: make(options.seed, size), options.tokens, count, FACTS)
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(text)
    except (RecordError, TaskError, OSError) as error:
        print(f"make_prompt.py: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {count(text)} tokens" + (f", asks for {numbers}" if numbers else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
