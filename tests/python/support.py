"""What the tests of the Python package share: a layer of random tensors, dense attention, paths."""

import os

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NEEDLE = os.path.join(ROOT, "tests", "data", "needle-4k.h5")


class Layer:
    """Keys and values [kv_heads, tokens, dim], one query a head [heads, dim], float32."""

    def __init__(self, tokens=300, kv_heads=2, heads=8, head_dim=32, value_dim=None, seed=0):
        draw = np.random.default_rng(seed)
        self.k = draw.standard_normal((kv_heads, tokens, head_dim), dtype=np.float32)
        self.v = draw.standard_normal((kv_heads, tokens, value_dim or head_dim), dtype=np.float32)
        self.q = draw.standard_normal((heads, head_dim), dtype=np.float32)


def dense(k, v, q, scale=None):
    """Attention in float64: (output [heads, value_dim], log-sum-exp [heads])."""
    k, v, q = (np.asarray(a, dtype=np.float64) for a in (k, v, q))
    group = len(q) // len(k)
    logits = np.einsum("hd,hnd->hn", q, np.repeat(k, group, 0)) * (scale or q.shape[1] ** -0.5)
    top = logits.max(1, keepdims=True)
    weights = np.exp(logits - top)
    total = weights.sum(1, keepdims=True)
    return (np.einsum("hn,hnd->hd", weights / total, np.repeat(v, group, 0)),
            (top + np.log(total))[:, 0])


class Lent:
    """An array that speaks DLPack and nothing else, as a tensor of another library does."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **how):
        return self._array.__dlpack__(**how)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()
