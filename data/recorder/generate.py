"""Runs a model over a prompt, a chunk at a time, and then a token at a time."""
import inspect
import time
from dataclasses import dataclass

import torch

from .encoding import RecordError


@dataclass(frozen=True)
class Decoding:
    """Greedy where temperature is 0; top_p keeps the smallest set of tokens of that mass."""
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    ends: frozenset = frozenset()  # tokens that end the answer
    ignore_ends: bool = False  # never choose them, so that every step is recorded

    def __str__(self):
        if not self.temperature:
            return "greedy"
        return f"sampled, temperature {self.temperature:g}, top_p {self.top_p:g}, seed {self.seed}"


def choose(logits, decoding, generator):
    """The next token from float32 logits [vocabulary] on the CPU."""
    if decoding.ignore_ends:
        logits[list(decoding.ends)] = -torch.inf
    if not decoding.temperature:
        return int(logits.argmax())
    mass = torch.softmax(logits / decoding.temperature, dim=0)
    ordered, tokens = mass.sort(descending=True, stable=True)
    before = ordered.cumsum(0) - ordered
    ordered[before >= decoding.top_p] = 0  # never the first
    return int(tokens[torch.multinomial(ordered, 1, generator=generator)])


class Clock:
    """Tells how far a phase is and, from the times of its parts so far, how long it still takes.

    The time of a part grows with the tokens before it: a line through the parts' times.
    """

    def __init__(self, phase, total, unit, tell):
        self.phase, self.total, self.unit, self.tell = phase, total, unit, tell
        self.began = self.last = time.monotonic()
        self.points = []  # (middle of the part, seconds of one of its units)

    def done(self, first, stop):
        now = time.monotonic()
        self.points.append(((first + stop) / 2, (now - self.last) / (stop - first)))
        self.last = now
        self.tell(f"{self.phase}: {stop} of {self.total} {self.unit}, {now - self.began:.0f} s, "
                  f"about {self.left(stop):.0f} s left")

    def left(self, stop):
        at = torch.tensor([p for p, _ in self.points], dtype=torch.float64)
        cost = torch.tensor([c for _, c in self.points], dtype=torch.float64)
        slope = 0.0
        if len(at) > 2:  # the first part also pays for what is done once
            at, cost = at[1:], cost[1:]
            spread = ((at - at.mean())**2).sum()
            slope = max(0.0, float(((at - at.mean()) * cost).sum() / spread))
        middle = (stop + self.total) / 2
        return max(0.0, float(cost.mean()) + slope * (middle - float(at.mean()))) * (
            self.total - stop)


def forward(model, ids, cache, device):
    """The logits of the last token, float32 on the CPU, and the cache."""
    known = inspect.signature(model.forward).parameters
    name = "cache" if "cache" in known else "past_key_values"  # as transformers calls it by version
    options = {name: cache}
    if "logits_to_keep" in known:
        options["logits_to_keep"] = 1  # a prompt's logits are larger than its cache
    out = model(input_ids=torch.tensor([ids], device=device), use_cache=True, **options)
    return out.logits[0, -1].to("cpu", torch.float32), out[name]


@torch.inference_mode()
def generate(model, recording, prompt, steps, chunk, decoding, device, tell=lambda line: None):
    """The answer's tokens, one a recorded step: fewer than `steps` where the model ends it.

    `recording` is entered by the caller. The model's own cache, on its device, is the only one.
    """
    generator = torch.Generator().manual_seed(decoding.seed)
    cache, logits = None, None
    clock = Clock("prompt", len(prompt), "tokens", tell)
    for first in range(0, len(prompt), chunk):
        part = prompt[first:first + chunk]
        recording.position = first
        logits, cache = forward(model, part, cache, device)
        if missing := recording.layers - recording.seen:
            raise RecordError(f"layer {min(missing)}: its attention cannot be recorded, it is not "
                              "softmax attention by transformers' attention interface; choose "
                              "others with --layers")
        clock.done(first, first + len(part))
    answer = []
    clock = Clock("answer", steps, "steps", tell)
    for step in range(steps):
        token = choose(logits, decoding, generator)
        if token in decoding.ends:
            break
        answer.append(token)
        recording.position = len(prompt) + step
        logits, cache = forward(model, [token], cache, device)
        clock.done(step, step + 1)
    return answer
