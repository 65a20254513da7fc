"""One row of a batch in one layer of a model: a decoder, and what it has seen of the row's cache."""

import torch

from ._core import InputError


def visible(mask, row, keys, layer):
    """The range of cache rows that a decoded token sees, by its mask [batch or 1, heads or 1, 1, keys],
    bool or additive; all where there is no mask."""
    if mask is None:
        return range(keys)
    seen = mask[min(row, len(mask) - 1), 0, 0, :keys]
    at = (seen if seen.dtype == torch.bool else seen == 0).nonzero()[:, 0]
    tokens = range(int(at[0]), int(at[-1]) + 1) if len(at) else range(0)
    if len(tokens) < 2 or len(tokens) != len(at):
        raise InputError(f"layer {layer}: row {row} sees {len(at)} tokens of its cache with gaps; expected "
                         "the tokens from one to the last, pad on the left")
    return tokens


class Sequence:
    """`key` and `value`: [num_kv_heads, tokens, dim], the whole cache of the row; `tokens`: the range of
    its rows that are visible, the last of them decoded now. What comes before it is the prompt."""

    def __init__(self, decoder, key, value, tokens, queries):
        self._decoder, self._first, self._next = decoder, tokens.start, tokens.stop - 1
        self._on_gpu = key.is_cuda and decoder.backend == "cuda"
        prompt = slice(tokens.start, tokens.stop - 1)
        decoder.prefill(self._where(key[:, prompt]), self._where(value[:, prompt]),
                        None if queries is None else self._where(queries))
        self._told, self._since = 0.0, tokens.stop - 2
        self._seen = key[:, self._since:self._next].clone()

    def goes_on(self, key, tokens):
        """Is this the same sequence with one token more? Another one may have come at the same place: a
        search over beams reorders rows, a cache is cut and written anew. The prompt's last key and all
        keys after it tell."""
        return (tokens.start == self._first and tokens.stop == self._next + 1 and
                self._seen.shape[0] == key.shape[0] and
                torch.equal(key[:, self._since:self._next], self._seen))

    def step(self, query, key, value, tokens):
        """Appends the last token and attends `query` [num_query_heads, head_dim]: a StepResult, and its
        output as a tensor, float32 [num_query_heads, value_dim], on the GPU where all stays there."""
        last = slice(tokens.stop - 1, tokens.stop)
        self._decoder.append(self._where(key[:, last]), self._where(value[:, last]))
        self._seen, self._next = torch.cat([self._seen, key[:, last]], 1), tokens.stop
        out = None
        if self._on_gpu:
            out = torch.empty(len(query), value.shape[2], dtype=torch.float32, device=query.device)
        step = self._decoder.step(self._where(query), out=out)
        return step, torch.from_numpy(step.output) if out is None else out

    def newly_built(self):
        """Bytes read to build the index, since this was last asked."""
        before, self._told = self._told, self._decoder.index_cost["build_bytes"]
        return self._told - before

    def _where(self, tensor):
        return tensor if self._on_gpu or not tensor.is_cuda else tensor.cpu()
