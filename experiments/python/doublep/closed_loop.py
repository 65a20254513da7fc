"""What a model answers and predicts under attentions of doublep.hf: one prompt, filled once, then decoded under
one after the other.

    policies = {name: doublep.hf.register(..., name=name) for ...}
    filled = doublep.closed_loop.Filled(model, prompt_ids)
    rows = doublep.closed_loop.agreement(filled, answer_ids, policies)     # teacher-forced
    answer = filled.answer("doublep", ends={tokenizer.eos_token_id}, most=64)
    print(tokenizer.decode(answer.tokens))
"""

import copy
import inspect
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from . import hf
from ._core import InputError

ROW = np.dtype([("kl", "f8"), ("same_top", "?"), ("nll", "f8"), ("reference_nll", "f8")])


class Answer(NamedTuple):
    """tokens: ids, without the one that ended the answer; end: that one, or None of an answer that was cut off;
    predicted: log-probabilities [decoded, vocabulary], float32, of each token after the first, the end too."""
    tokens: list[int]
    end: int | None
    predicted: torch.Tensor

    @property
    def ids(self) -> list[int]:
        """tokens, and the end where there is one."""
        return self.tokens + ([] if self.end is None else [self.end])


def forward(model: Any, cache: Any, ids: torch.Tensor, **given: Any) -> torch.Tensor:
    """Logits [batch, vocabulary], float32, of what follows the last of ids [batch, n], which join the cache."""
    known = inspect.signature(model.forward).parameters
    given["cache" if "cache" in known else "past_key_values"] = cache  # as transformers calls it by version
    if "logits_to_keep" in known:
        given["logits_to_keep"] = 1  # a prompt's logits are larger than its cache
    return model(input_ids=ids, use_cache=True, **given).logits[:, -1].float()


class Filled:
    """`model` with a prompt in its cache: ids, [tokens]. It is attended densely, `chunk` tokens a pass."""

    @torch.inference_mode()
    def __init__(self, model: Any, ids: Sequence[int], chunk: int = 1024) -> None:
        names = hf.registered()
        if not names:
            raise InputError("Filled: no policy is registered; call doublep.hf.register first")
        if len(ids) < 2:
            raise InputError(f"Filled: a prompt of {len(ids)} tokens; expected 2 at least")
        self.model, self.tokens = model, len(ids)
        self._cache = DynamicCache(config=model.config)
        before = model.config._attn_implementation
        model.set_attn_implementation(names[0])  # any of them: it keeps the queries that policies learn from
        try:
            for first in range(0, len(ids), chunk):
                logits = self._pass(self._cache, ids[first:first + chunk])
        finally:
            model.set_attn_implementation(before)
        self.logits = logits  # float32 [vocabulary], of what follows the prompt: no policy has a part in it

    def _pass(self, cache, ids):
        return forward(self.model, cache, torch.as_tensor(ids, device=self.model.device)[None])[0]

    @torch.inference_mode()
    def decode(self, attention: str, choose: Callable[[torch.Tensor], int | None]) -> None:
        """Under an attention of transformers, "sdpa" or one that was registered: calls choose(logits) for
        the next token until it gives None. The prompt's cache stays as it is."""
        before, cache, logits = self.model.config._attn_implementation, copy.deepcopy(self._cache), self.logits
        self.model.set_attn_implementation(attention)
        try:
            while (token := choose(logits)) is not None:
                logits = self._pass(cache, [token])
        finally:
            self.model.set_attn_implementation(before)

    def answer(self, attention: str, ends: Container[int], most: int) -> Answer:
        """The greedy Answer: tokens until one of `ends`, `most` (1 at least) at most."""
        tokens, end, predicted = [], [], []

        def choose(logits):
            token = int(logits.argmax())
            if tokens:
                predicted.append(torch.log_softmax(logits, 0))
            if token in ends:
                end.append(token)
                return None
            tokens.append(token)
            return token if len(tokens) < most else None  # what follows the last is not asked for

        self.decode(attention, choose)
        return Answer(tokens, end[0] if end else None,
                      torch.stack(predicted) if predicted else self.logits.new_empty(0, len(self.logits)))

    def forced(self, attention: str, ids: Iterable[int]) -> torch.Tensor:
        """Log-probabilities [len(ids) - 1, vocabulary], float32, of the tokens after the first of `ids`, which
        follow the prompt whatever was predicted: each comes of one decoded token."""
        left, found = list(ids), []

        def choose(logits):
            if len(left) < len(ids):
                found.append(torch.log_softmax(logits, 0))
            return left.pop(0) if len(left) > 1 else None

        self.decode(attention, choose)
        return torch.stack(found)


def agreement(filled: Filled, ids: Sequence[int], attentions: Iterable[str],
              reference: str | torch.Tensor = "sdpa") -> dict[str, NDArray[np.void]]:
    """{attention: structured array}, a row for each of `ids` after the first: kl, of the reference's prediction
    from this one's, in nats; same_top, is its most probable token the same; nll and reference_nll, the token's
    negative log-probability, in nats. Every attention sees the same tokens, so that a near tie does not
    send them apart. reference: an attention, or its log-probabilities, as forced() and Answer have them."""
    if len(ids) < 2:
        raise InputError(f"agreement: {len(ids)} tokens follow the prompt; expected 2 at least")
    dense = filled.forced(reference, ids) if isinstance(reference, str) else reference
    following = torch.as_tensor(ids[1:], device=filled.logits.device)
    found = {}
    for attention in attentions:
        here = filled.forced(attention, ids)
        rows = np.empty(len(following), ROW)
        rows["kl"] = (dense.exp() * (dense - here)).sum(1, dtype=torch.float64).cpu()
        rows["same_top"] = (dense.argmax(1) == here.argmax(1)).cpu()
        for name, predicted in (("nll", here), ("reference_nll", dense)):
            rows[name] = -predicted.gather(1, following[:, None])[:, 0].double().cpu()
        found[attention] = rows
    return found
