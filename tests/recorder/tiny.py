"""Random models of a few thousand weights, one of each kind that the recorder meets, and what they
attend by PyTorch's own attention, seen from outside the recorder."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "data"))

import torch
import transformers
from transformers import AutoModelForCausalLM

VOCABULARY = 211
COMMON = dict(vocab_size=VOCABULARY, hidden_size=48, intermediate_size=64, num_hidden_layers=3,
              num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=256,
              pad_token_id=None, bos_token_id=None, eos_token_id=None)
GEMMA = dict(head_dim=24, sliding_window=16, query_pre_attn_scalar=10,
             layer_types=["sliding_attention", "full_attention", "sliding_attention"])

CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**COMMON),
    "qwen2": lambda: transformers.Qwen2Config(**COMMON),
    "mistral": lambda: transformers.MistralConfig(**COMMON, sliding_window=24),
    "gemma3": lambda: transformers.Gemma3TextConfig(**COMMON, **GEMMA),
    "deepseek": lambda: transformers.DeepseekV3Config(  # MLA, expanded to all heads; no experts
        **COMMON | dict(num_key_value_heads=6), q_lora_rank=16, kv_lora_rank=16, v_head_dim=12,
        qk_rope_head_dim=8, qk_nope_head_dim=10, first_k_dense_replace=3),
    "gemma2": lambda: transformers.Gemma2Config(**COMMON, **GEMMA, attn_logit_softcapping=2.0),
}
WINDOWS = {"mistral": [24, 24, 24], "gemma3": [16, None, 16], "gemma2": [16, None, 16]}
SOFTCAPS = {"gemma2": 2.0}


def make(kind, attention, seed=1):
    """The same weights for the same seed, whatever the attention. Logits large enough to matter."""
    torch.manual_seed(seed)
    config = CONFIGS[kind]()
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.15)
            elif name.endswith("bias"):
                weight.normal_()
    return model.eval()


def save(folder, kind="llama", change=lambda model: None, **config):
    """A model's folder, without a tokenizer."""
    model = make(kind, "eager")
    with torch.no_grad():
        change(model)
    for name, value in config.items():
        setattr(model.config, name, value)
        if hasattr(model.generation_config, name):
            setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    return folder


def save_gguf(path):
    """The tiny Qwen2 as a GGUF file of float32, without a tokenizer."""
    import gguf
    model, c = make("qwen2", "eager"), CONFIGS["qwen2"]()
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
             "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
             "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
             "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(c.vocab_size)
    for name, weight in model.state_dict().items():
        base, kind = name.rsplit(".", 1)
        layer = base.split(".")[2] if base.startswith("model.layers.") else None
        known = names[base.split(".", 3)[3] if layer else base]
        writer.add_tensor(f"blk.{layer}.{known}.{kind}" if layer else f"{known}.{kind}",
                          weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def ids_file(folder, count, seed=3):
    """Token ids that no tokenizer made: (path, list)."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (count,), generator=generator).tolist()
    path = os.path.join(folder, f"ids-{count}-{seed}.txt")
    with open(path, "w") as file:
        json.dump(ids, file)
    return path, ids


def attended(model, ids):
    """{layer: (query, key, value, output)} [heads, tokens, dim] of one whole pass by eager
    attention, float32, through PyTorch's hooks rather than through a registered function."""
    module = sys.modules[type(model).__module__]
    original, seen = module.eager_attention_forward, {}

    def spy(layer, query, key, value, mask, **options):
        output, weights = original(layer, query, key, value, mask, **options)
        seen[layer.layer_idx] = (query[0], key[0], value[0], output[0].transpose(0, 1))
        return output, weights

    module.eager_attention_forward = spy
    try:
        with torch.inference_mode():
            model(input_ids=torch.tensor([ids]))
    finally:
        module.eager_attention_forward = original
    return {layer: tuple(t.float().numpy() for t in parts) for layer, parts in seen.items()}
