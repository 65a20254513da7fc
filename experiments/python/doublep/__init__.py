"""Which sparse attention should decode a long context, and at what cost?

`policies()` lists the policies with their parameters; `Decoder` runs one over a KV cache of yours, a
decode step at a time; `Trace` opens a recorded trace, `replay` measures a policy on it and `run` does a
sweep's configuration; `tuned` reads what `doublep tune` chose. What is wrong with an argument or a file
is an `InputError` of one line. `python -m doublep` is the program. `doublep.hf` puts a policy into a model of
Hugging Face transformers, `doublep.closed_loop` holds its answers against dense attention's; both want torch
and transformers.
"""

from ._core import (STAGES, Decoder, InputError, ReplayResult, StepResult, Trace, TraceLayer,
                    __version__, has_cuda, num_threads, policies, replay, row_fields, run,
                    set_num_threads, tuned)

__all__ = ["STAGES", "Decoder", "InputError", "ReplayResult", "StepResult", "Trace", "TraceLayer",
           "__version__", "has_cuda", "num_threads", "policies", "replay", "row_fields", "run",
           "set_num_threads", "tuned"]
