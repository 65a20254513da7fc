"""What a recording takes, computed from the model's configuration before anything is loaded."""
import os
import shutil
from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM

from .encoding import RecordError
from .model import causal_class


@dataclass(frozen=True)
class Estimate:
    """Bytes. `working` is the largest that a layer holds beside weights and cache, roughly."""
    weights: int
    cache: int
    working: int
    file: int

    @property
    def memory(self):
        return self.weights + self.cache + self.working


def attention_shape(config):
    """(query heads, KV heads, head_dim, value_dim) as the model's cache has them."""
    heads = config.num_attention_heads
    if getattr(config, "qk_nope_head_dim", None):  # MLA: transformers expands it to all heads
        return (heads, heads, config.qk_nope_head_dim + config.qk_rope_head_dim,
                config.v_head_dim)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return heads, getattr(config, "num_key_value_heads", None) or heads, head_dim, head_dim


def window_of(config, layer):
    kinds = getattr(config, "layer_types", None)
    if kinds and kinds[layer] != "sliding_attention":
        return None
    return getattr(config, "sliding_window", None)


def estimate(config, source, layers, prompt, steps, prefill_queries, chunk, dtype, store):
    causal_class(config, source)
    text = config.get_text_config()
    heads, kv_heads, head_dim, value_dim = attention_shape(text)
    tokens, size = prompt + steps, dtype.itemsize
    with torch.device("meta"):
        weights = AutoModelForCausalLM.from_config(config).num_parameters() * size
    row = kv_heads * (head_dim + value_dim)
    cache = sum(min(tokens, window_of(text, layer) or tokens) * row * size
                for layer in range(text.num_hidden_layers))
    chunk = min(chunk, prompt)
    # Keys and values repeated for every query head, and the mask as the kernel wants it; then the
    # feed-forward layer; then a layer's cache being grown.
    attend = tokens * heads * (head_dim + value_dim) * size + chunk * tokens * (1 + size)
    feed = 3 * chunk * getattr(text, "intermediate_size", 4 * text.hidden_size) * size
    stored = 4 if store == "float32" else 2
    padded = -(-tokens // 256) * 256
    per_layer = (padded * row + (steps + prefill_queries) * heads * head_dim) * stored
    per_layer += steps * heads * value_dim * 4
    return Estimate(weights, cache, max(attend, feed) + tokens * row * size,
                    len(layers) * per_layer)


def size(count):
    """"1.5 GiB"."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def check_disk(path, needed):
    free = shutil.disk_usage(os.path.dirname(os.path.abspath(path))).free
    if needed > free:
        raise RecordError(f"{path}: needs {size(needed)}, and the disk has {size(free)} free; "
                          "choose fewer --layers, a shorter prompt, or another disk")
