"""A policy inside a model of Hugging Face transformers.

    import doublep.hf

    decoding = doublep.hf.register("double_p", variant="best", dense_layers=2)
    model = AutoModelForCausalLM.from_pretrained(..., attn_implementation="doublep")
    model.generate(**inputs, max_new_tokens=64)
    print(decoding.bytes_share, decoding.density, decoding.counts)

The prompt is attended densely, by PyTorch's scaled_dot_product_attention; every token after it by the
policy, in each layer that attends all tokens. A pass over several tokens at once is a prompt, or a
further part of one, wherever it comes. A batch is decoded a row after the other; rows may be padded on
the left. Layers with a sliding window stay dense: it is their own sparsity. With backend="cuda" the cache
of a model on a GPU stays there, in the model's own type. No gradient passes a decoded
token. Several policies under names of their own may decode one after the other from copies of a cache that
the model filled under any of these names.
"""

import operator
import os
import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ._core import STAGES, Decoder, InputError, tuned as read_tuned
from ._sequence import Sequence, visible

PROMPT_QUERIES = 256  # of a prompt's last tokens: what policies learn from, as a recorded trace has them
_KV_DTYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
_SIZES = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1}  # bytes an element
_COUNTS = np.dtype([("layer", "i4"), ("dense", "?"), ("steps", "i8"), ("visible_tokens", "i8"),
                    ("exact_tokens", "i8"), ("approximated_clusters", "i8"),
                    ("bytes", "f8", (len(STAGES),)), ("dense_bytes", "f8"), ("build_bytes", "f8")])
_registered = {}  # Decoding by name
_prompts = weakref.WeakKeyDictionary()  # what attended last in a layer: _Prompt by the model's module


class Decoding:
    """What register() returns: a policy in models, and what its decode steps have read so far."""

    def __init__(self, policy, backend, dense_layers, tuned, seed, kv_dtype, errors, parameters):
        try:
            self._dense_layers = range(operator.index(dense_layers))
            least = operator.index(dense_layers)
        except TypeError:
            self._dense_layers = frozenset(map(operator.index, dense_layers))
            least = min(self._dense_layers, default=0)
        if least < 0:
            raise InputError(f"register: dense_layers is {dense_layers}, expected a number, or layers, from 0 on")
        self._arguments = dict(policy=policy, backend=backend, seed=seed)
        self._kv_dtype, self._keeps_errors = kv_dtype, errors
        self._parameters = parameters
        self._by_layer = _choice(tuned, policy) if tuned is not None else {}
        sets = list(self._by_layer.values())
        if sets and all(one == sets[0] for one in sets):  # for layers that the trace did not hold, too, as in a sweep
            if parameters:
                raise InputError(f"register: {tuned} holds one set of parameters for every layer, and {next(iter(parameters))} "
                                 "is given beside it; leave one of them out")
            self._parameters, self._by_layer = sets[0], {}
        for given in (self._parameters, *self._by_layer.values()):  # refused here, not inside a model
            Decoder(policy, backend, seed=seed, kv_dtype=kv_dtype or "bf16", **given)
        self.reset()

    def reset(self) -> None:
        """Counts from zero, and forgets every sequence: the next token's index is built anew."""
        self._layers = weakref.WeakKeyDictionary()  # by the model's module
        self._counted, self._errors = {}, {}

    @property
    def counts(self) -> NDArray[np.void]:
        """Structured array, a row a layer that has decoded, in order: what it read since reset().

        dense: the layer was left dense; steps: decoded tokens, every row of a batch one;
        visible_tokens, exact_tokens, approximated_clusters: sums over steps and query heads;
        bytes: [4], read by stage (doublep.STAGES), and dense_bytes, what dense attention reads;
        build_bytes: read to build indexes.
        """
        return np.array([tuple(row) for _, row in sorted(self._counted.items())], _COUNTS)

    @property
    def errors(self) -> dict[int, NDArray[np.float32]]:
        """{layer: float32 [steps, num_query_heads]}, with register(errors=True): how far the output of every head
        is from that of dense attention to the same query and cache, ||output - dense|| / ||dense||, for every decoded
        token since reset(), the rows of a batch one after the other. Dense is PyTorch's, in the cache's own type."""
        return {layer: torch.stack(rows).cpu().numpy() for layer, rows in sorted(self._errors.items())}

    @property
    def bytes_share(self) -> float:
        """Bytes that the decode steps of all layers read, as a share of dense attention's."""
        counts = self.counts
        return float(counts["bytes"].sum() / counts["dense_bytes"].sum()) if len(counts) else np.nan

    @property
    def density(self) -> float:
        """Tokens attended exactly and clusters entered as one term, over visible tokens."""
        counts = self.counts
        read = counts["exact_tokens"].sum() + counts["approximated_clusters"].sum()
        return float(read / counts["visible_tokens"].sum()) if len(counts) else np.nan

    def _attend(self, module, query, key, value, attention_mask, scaling=None, dropout=0.0,
                sliding_window=None, softcap=None, **options):
        """query [batch, num_query_heads, n, head_dim]; key and value [batch, num_kv_heads, tokens,
        ...]; returns [batch, n, num_query_heads, value_dim], as transformers has it."""
        index = getattr(module, "layer_idx", None)
        if index is None or not getattr(module, "is_causal", True):
            raise InputError(f"{type(module).__name__}: not the attention of a causal decoder's layer; "
                             "use another attn_implementation")
        for what, found in (("soft-capped logits", softcap), ("learned sinks", options.get("s_aux")),
                            ("a position bias", options.get("position_bias"))):
            if found is not None:
                raise InputError(f"layer {index}: attention with {what}, which no policy knows; use "
                                 "another attn_implementation")
        decoded = query.shape[2] == 1 and key.shape[2] > 1
        dense = index in self._dense_layers or sliding_window is not None
        output = None
        if not decoded:
            _prompts[module] = _Prompt(query.detach(), _prompts.get(module))
        if not decoded or dense or self._keeps_errors:
            output, _ = sdpa_attention_forward(module, query, key, value, attention_mask,
                                               dropout=dropout, scaling=scaling, **options)
        if decoded:
            layer = self._layer(module)
            rows = [self._row(layer, index, dense, b, query, key, value, attention_mask, scaling)
                    for b in range(query.shape[0])]
            if not dense:
                found = torch.stack(rows)
                if self._keeps_errors:
                    exact = output[:, 0].float()
                    self._errors.setdefault(index, []).extend((found.to(exact) - exact).norm(dim=-1) / exact.norm(dim=-1))
                output = found.to(query)[:, None]
        return output, None

    def _layer(self, module):
        prompt = _prompts.setdefault(module, _Prompt())  # another attention may have filled the cache
        prompt.decoded = True
        layer = self._layers.get(module)
        if layer is None or layer.prompt is not prompt:
            layer = self._layers[module] = _Layer(prompt, {})
        return layer

    def _row(self, layer, index, dense, b, query, key, value, mask, scaling):
        """One decoded token of one row: its output [num_query_heads, value_dim], or None of a dense
        layer, which is only counted."""
        tokens = visible(mask, b, key.shape[2], index)
        kept, heads, rows = len(tokens), query.shape[1], (key[b].detach(), value[b].detach())
        kv_dtype = self._kv_dtype or _KV_DTYPES.get(key.dtype)
        if kv_dtype is None:
            raise InputError(f"layer {index}: its cache holds {key.dtype}; expected float32, float16 or "
                             "bfloat16, load the model in one of these")
        dense_bytes = kept * key.shape[1] * (key.shape[3] + value.shape[3]) * _SIZES[kv_dtype]
        if dense:
            attend = STAGES.index("attend")
            read = [dense_bytes if i == attend else 0.0 for i in range(len(STAGES))]
            self._count(index, True, heads * kept, heads * kept, 0, np.array(read), dense_bytes, 0.0)
            return None
        sequence = layer.sequences.get(b)
        if sequence is None or not sequence.goes_on(rows[0], tokens):
            sequence = layer.sequences[b] = Sequence(
                Decoder(**self._arguments, kv_dtype=kv_dtype, layer=index, softmax_scale=scaling,
                        **self._by_layer.get(index, self._parameters)),
                *rows, tokens, layer.prompt.queries_of(b, kept - 1))
        step, output = sequence.step(query[b, :, 0].detach(), *rows, tokens)
        self._count(index, False, heads * kept, int(step.exact_tokens.sum()),
                    int(step.approximated_clusters.sum()), step.bytes.sum(0), dense_bytes,
                    sequence.newly_built())
        return output

    def _count(self, index, dense, visible_tokens, exact, terms, read, dense_bytes, build):
        row = self._counted.setdefault(index, [index, dense, 0, 0, 0, 0, np.zeros(len(STAGES)), 0.0,
                                               0.0])
        for i, one in enumerate((1, visible_tokens, exact, terms, read, dense_bytes, build), 2):
            row[i] = row[i] + one


class _Layer(NamedTuple):
    """One layer of one model: its sequences by the row of the batch, all after one prompt."""
    prompt: "_Prompt"
    sequences: dict


class _Prompt:
    """The queries of a prompt's last tokens in one layer: [batch, num_query_heads, n, head_dim]."""

    def __init__(self, query=None, before=None):
        self.decoded = False  # has a token been, so that what comes next is no further part
        if before is not None and before.queries is not None and not before.decoded and (
                before.queries.shape[:2] == query.shape[:2]):
            query = torch.cat([before.queries, query], 2)
        self.queries = None if query is None else query[:, :, -PROMPT_QUERIES:].clone()

    def queries_of(self, row, tokens):
        """[positions, num_query_heads, head_dim] of the last of so many prompt tokens, or None. What
        stands before these, if anything, is of an earlier prompt."""
        if self.queries is None or row >= len(self.queries):
            return None
        return self.queries[row, :, -min(tokens, PROMPT_QUERIES):].transpose(0, 1)


def _choice(path, policy):
    """{layer: parameters} that `doublep tune -o` wrote for the policy."""
    found = [choice for choice in read_tuned(path) if choice["policy"] == policy]
    if len(found) != 1:
        raise InputError(f"{path}: holds {len(found)} choices for {policy}; expected one, keep one trace "
                         "in the tuning's configuration")
    return found[0]["layers"]


def register(policy: str = "double_p", *, name: str = "doublep", backend: str = "cpu",
             dense_layers: int | Iterable[int] = 0, tuned: str | os.PathLike[str] | None = None, seed: int = 0,
             kv_dtype: str | None = None, errors: bool = False, **parameters: bool | int | float | str) -> Decoding:
    """Makes `policy` the attn_implementation `name` of transformers, and returns its Decoding.

    policy and **parameters are in the words of doublep.policies(), backend and seed as of Decoder.
    dense_layers: the first so many layers stay dense, or the layers that it holds. errors: attend densely, too, and
    keep every head's error (Decoding.errors). tuned: a file of `doublep tune -o`; where it
    holds one set of parameters, every layer takes it, else the layers that it names do instead of the given ones. kv_dtype: element size that bytes are counted
    with; None: the cache's own. Called again with a name, models that have it take the new policy.
    """
    known = AttentionInterface().valid_keys()
    if name not in _registered and name in known:
        raise InputError(f"register: '{name}' is an attention of transformers; choose another name")
    decoding = Decoding(policy, backend, dense_layers, tuned, seed, kv_dtype, errors, parameters)
    _registered[name] = decoding
    AttentionInterface.register(name, decoding._attend)
    AttentionMaskInterface.register(name, sdpa_mask)
    return decoding


def registered() -> list[str]:
    """The names that register() was called with."""
    return list(_registered)
