// Before the first token: dense prefill of the prompt, and the index over its keys.
#pragma once

#include "sim/decode/decode.h"

namespace doublep::sim {

/// Dense prefill of `tokens` in one go: products over all tokens and causal attention, bounded by
/// compute or, for short prompts, by reading the weights. Without the index.
double prefill_seconds(const Model& model, const Machine& machine, std::int64_t tokens,
                       int tensor_parallel);

/// Building the index of every layer over a context, for the KV heads of one device.
double build_seconds(const Model& model, const Machine& machine, const Workload& workload,
                     std::int64_t context, int tensor_parallel);

}  // namespace doublep::sim
