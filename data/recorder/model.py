"""Finds and loads a causal language model: a folder, a GGUF file, or a name in the local cache.

Nothing is fetched from anywhere.
"""
import glob
import os
from dataclasses import dataclass

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from .encoding import RecordError

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@dataclass(frozen=True)
class Source:
    """`place`: a folder, or a name in the cache. `gguf`: the file's name in that folder, or None."""
    place: str
    gguf: str | None
    shown: str

    def options(self):
        return {"local_files_only": True} | ({"gguf_file": self.gguf} if self.gguf else {})


def find(name):
    if os.path.isfile(name):
        if not name.endswith(".gguf"):
            raise RecordError(f"{name}: a file that is no .gguf; name the model's folder instead")
        return Source(os.path.dirname(os.path.abspath(name)), os.path.basename(name), name)
    if os.path.isdir(name):
        if os.path.exists(os.path.join(name, "config.json")):
            return Source(name, None, name)
        files = sorted(glob.glob(os.path.join(glob.escape(name), "*.gguf")))
        if len(files) != 1:
            raise RecordError(f"{name}: holds no config.json and {len(files)} .gguf files; name a "
                              "model's folder, or one .gguf file")
        return Source(name, os.path.basename(files[0]), files[0])
    if name.startswith((".", "/", "~")) or name.endswith(".gguf") or name.count("/") > 1:
        raise RecordError(f"{name}: there is no such folder or file")
    return Source(name, None, name)


def first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def load_config(source):
    try:
        return AutoConfig.from_pretrained(source.place, **source.options())
    except (ValueError, KeyError, ImportError) as error:
        raise RecordError(f"{source.shown}: transformers {transformers.__version__} does not know "
                          f"this model ({first_line(error)})")
    except Exception as error:  # a damaged file shows itself in many ways
        if os.path.isdir(source.place):
            raise RecordError(f"{source.shown}: its configuration cannot be read "
                              f"({first_line(error)})")
        raise RecordError(f"{source.shown}: neither a folder, nor a .gguf file, nor a model in the "
                          "local cache; fetch it first")


def choose_dtype(name, config, source):
    """The type that the model computes in; "auto" is the one its weights are published in."""
    if name != "auto":
        return DTYPES[name]
    published = None if source.gguf else getattr(config.get_text_config(), "dtype", None)
    if isinstance(published, str):
        published = DTYPES.get(published)
    return published or torch.bfloat16


def causal_class(config, source):
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise RecordError(f"{source.shown}: {type(config).__name__} is no causal language model of "
                          f"transformers {transformers.__version__}; the recorder needs one")


def load_model(source, config, dtype, device, attention):
    causal_class(config, source)
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        raise RecordError(f"--device {device}: PyTorch {torch.__version__} sees no GPU; use "
                          "--device cpu")
    options = source.options()
    if source.gguf:
        unpack = getattr(transformers, "GgufConfig", None)  # earlier ones always unpack
        if unpack:
            options["quantization_config"] = unpack(dequantize=True)
    try:
        model = AutoModelForCausalLM.from_pretrained(source.place, dtype=dtype,
                                                     attn_implementation=attention, **options)
        return model.to(device).eval()
    except torch.OutOfMemoryError:
        raise RecordError(f"{source.shown}: the weights do not fit the memory of {device}")
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, NotImplementedError) as error:
        raise RecordError(f"{source.shown}: cannot be loaded ({first_line(error)})")


def load_tokenizer(source):
    """None where the model comes without one: then only token ids can be its prompt."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.place, **source.options())
    except Exception:  # transformers raises what its parts raise; what is left is tried below
        file = os.path.join(source.place, "tokenizer.json")
        if source.gguf or not os.path.exists(file):
            return None
        return PreTrainedTokenizerFast(tokenizer_file=file)
    # For some models transformers makes one that knows no word where there are no files.
    return tokenizer if set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens) else None


def end_tokens(model, tokenizer):
    """Ids that end an answer: the tokenizer of a GGUF file may know the end of a text only, not that of a turn."""
    ends = set()
    for found in (getattr(model.generation_config, "eos_token_id", None),
                  getattr(tokenizer, "eos_token_id", None)):
        ends.update(found if isinstance(found, list) else [found])
    return frozenset(ends - {None})
