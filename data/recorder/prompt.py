"""A prompt's token ids: from a text, a conversation under the model's chat template, or numbers."""
import json
import re

from .encoding import RecordError


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})")


def from_text(path, tokenizer):
    return list(tokenizer(read(path))["input_ids"])


def messages(path):
    """A .json file holds the list of {"role", "content"}; any other is the user's one message."""
    text = read(path)
    if not path.endswith(".json"):
        return [{"role": "user", "content": text}]
    try:
        conversation = json.loads(text)
        if not conversation or any(set(m) != {"role", "content"} for m in conversation):
            raise ValueError("other keys")
    except (ValueError, TypeError) as error:
        raise RecordError(f'{path}: expected a list of {{"role": ..., "content": ...}} ({error})')
    return conversation


def from_chat(path, tokenizer):
    if not tokenizer.chat_template:
        raise RecordError(f"{path}: this model has no chat template; use --text")
    return list(tokenizer.apply_chat_template(messages(path), add_generation_prompt=True,
                                              tokenize=True, return_dict=False))


def from_ids(path):
    words = re.split(r"[\s,\[\]]+", read(path).strip())
    try:
        return [int(word) for word in words if word]
    except ValueError as error:
        raise RecordError(f"{path}: expected token ids, separated by blanks or commas ({error})")


def load(kind, path, tokenizer, vocabulary):
    """`kind`: text, chat or token_ids."""
    if kind == "token_ids":
        ids = from_ids(path)
    elif tokenizer is None:
        raise RecordError(f"{path}: the model comes without a tokenizer; give the prompt with "
                          "--token-ids")
    else:
        ids = (from_text if kind == "text" else from_chat)(path, tokenizer)
    for at, token in enumerate(ids):
        if not 0 <= token < vocabulary:
            raise RecordError(f"{path}: token {at} is {token}; the model knows 0 .. "
                              f"{vocabulary - 1}")
    return ids


def fit(ids, path, tokens, prefill_queries, steps, context):
    """The first `tokens` of them (None: all), where prompt and steps fit the model."""
    if not ids:
        raise RecordError(f"{path}: the prompt is empty")
    if tokens is not None:
        if len(ids) < tokens:
            raise RecordError(f"{path}: too short, {len(ids)} tokens where --prompt-tokens asks "
                              f"for {tokens}")
        ids = ids[:tokens]
    if len(ids) < prefill_queries:
        raise RecordError(f"{path}: too short, {len(ids)} tokens where --prefill-queries asks for "
                          f"the last {prefill_queries}")
    if context and len(ids) + steps > context:
        raise RecordError(f"{path}: too long, {len(ids)} tokens and {steps} steps do not fit the "
                          f"model's context of {context}; shorten it (a text: --prompt-tokens "
                          f"{context - steps})")
    return ids
