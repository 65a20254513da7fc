"""The attention that models run while they are recorded: PyTorch's own, with a look at its inputs.

Registered under NAME beside its mask function. Without the latter transformers makes no mask for
an attention that it does not know, and a chunk of a prompt after the first would run under one
that is aligned to the wrong end, silently.
"""
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from .encoding import RecordError
from .trace_file import LayerKind

NAME = "doublep_recorder"
CAPPED_LOGITS_AT_A_TIME = 1 << 26  # 256 MiB of float32

_recording = None  # the models' layers call attend() by its registered name: nothing else reaches it


class Recording:
    """While entered, whatever the chosen layers attend goes to `sink` (a TraceFile).

    `position` is that of the first token of the forward pass in progress, kept by the caller.
    """

    def __init__(self, sink, layers):
        self.sink, self.layers, self.position = sink, frozenset(layers), 0
        self.seen = set()

    def __enter__(self):
        global _recording
        _recording = self
        return self

    def __exit__(self, *_):
        global _recording
        _recording = None

    def take(self, layer, query, key, value, mask, kind):
        self.seen.add(layer)
        if layer not in self.layers:
            return
        check_mask(layer, query.shape[2], key.shape[2], self.position, mask, kind.sliding_window)
        new = query.shape[2]
        self.sink.add_layer(layer, kind)
        # What came before this pass was written when it came; a window's cache has dropped it.
        self.sink.write_cache(layer, self.position, rows(key[0, :, -new:]), rows(value[0, :, -new:]))
        self.sink.write_queries(layer, self.position, rows(query[0].transpose(0, 1)))


def rows(tensor):
    return tensor.to(torch.float32).contiguous().cpu().numpy()


def check_mask(layer, new, keys, position, mask, window):
    """The first and the last query of a pass see what the format says they see, or it cannot hold
    the layer (chunked attention, a prefix seen from both sides)."""
    before = keys - new  # keys of earlier passes that are still in the layer's cache
    if before < min(position, (window or position + 1) - 1):
        raise RecordError(f"layer {layer}: its cache holds {before} of {position} earlier tokens, "
                          "too few for its window; the format cannot hold such attention")
    if mask is None:
        if (new > 1 and before) or (window and keys > window):
            raise RecordError(f"layer {layer}: no mask for {new} queries over {keys} keys; this "
                              "model does not make masks by transformers' mask interface")
        return
    for row in {0, new - 1}:
        got = mask[0, 0, row, :keys]
        got = got if got.dtype == torch.bool else got == 0
        end = before + row + 1
        want = torch.zeros(keys, dtype=torch.bool)
        want[max(0, end - window) if window else 0:end] = True
        if not torch.equal(got.cpu(), want):
            raise RecordError(f"layer {layer}: its mask is neither causal nor a sliding window; "
                              "the format cannot hold such attention, choose others with --layers")


def attend(module, query, key, value, attention_mask, scaling=None, dropout=0.0,
           sliding_window=None, softcap=None, **options):
    """query [1, num_query_heads, n, head_dim]; key and value [1, num_kv_heads, keys, ...]."""
    layer = getattr(module, "layer_idx", None)
    if _recording is not None and layer is not None:
        for name, meaning in (("s_aux", "learned sinks"), ("position_bias", "a position bias")):
            if options.get(name) is not None:
                raise RecordError(f"layer {layer}: attention with {meaning}, which the format "
                                  "cannot hold")
        if query.shape[0] != 1:
            raise RecordError(f"layer {layer}: a batch of {query.shape[0]}; record one sequence")
        kind = LayerKind(query.shape[1], key.shape[1], query.shape[3], value.shape[3],
                         float(query.shape[3]**-0.5 if scaling is None else scaling),
                         softcap and float(softcap), sliding_window and int(sliding_window))
        _recording.take(layer, query, key, value, attention_mask, kind)
    if softcap:
        return capped(query, key, value, attention_mask, scaling, softcap), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout,
                                  scaling=scaling, **options)


def capped(query, key, value, mask, scaling, softcap):
    """Attention under softcap * tanh(logits / softcap), which PyTorch's kernels do not have; a
    run of queries at a time. [1, n, num_query_heads, value_dim]"""
    _, heads, new, dim = query.shape
    kv_heads, keys = key.shape[1], key.shape[2]
    scale = dim**-0.5 if scaling is None else scaling
    if mask is None:
        mask = torch.ones(new, keys, dtype=torch.bool, device=query.device).tril(keys - new)
    mask = mask.reshape(new, -1)[:, :keys]
    out = query.new_empty(1, new, heads, value.shape[3])
    run = max(1, CAPPED_LOGITS_AT_A_TIME // (heads * keys))
    for first in range(0, new, run):
        part = query[0, :, first:first + run].reshape(kv_heads, -1, dim)  # heads of a group in turn
        logits = (part @ key[0].transpose(1, 2)).reshape(heads, -1, keys).float() * scale
        logits = torch.tanh(logits / softcap) * softcap
        seen = mask[first:first + run]
        if seen.dtype == torch.bool:
            logits.masked_fill_(~seen, -torch.inf)
        else:
            logits += seen
        weights = torch.softmax(logits, dim=-1).to(value.dtype).reshape(kv_heads, -1, keys)
        out[0, first:first + run] = (weights @ value[0]).reshape(
            heads, -1, value.shape[3]).transpose(0, 1)
    return out


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
