// The CUDA backend's door: is there a device, and a decoder of a policy that cuda/policies serves.
#pragma once

#include <memory>
#include <string>

#include "core/decoder/decoder.h"
#include "core/policy/registry.h"
#include "cuda/policies/policies.h"

namespace doublep::cuda {

/// Empty where a device is ready; else one line that says what is missing (no driver, no device).
/// `backend: auto` falls to the CPU then.
std::string device_problem();
/// One line: name, compute capability, multiprocessors, memory, driver and runtime versions.
std::string device_description();

/// Clusterings to take instead of making them: a label per token of [sink_end, tail_begin) and KV
/// head, for tests that compare selections.
struct GivenClusters {
  std::vector<std::vector<std::int32_t>> labels;  ///< [num_kv_heads][points]
  int clusters = 0;                               ///< per KV head
};

/// The element type is context.kv_dtype. Throws InputError with the refusal at the first prefill or
/// step that cannot be served, and CudaError where the device fails.
std::unique_ptr<Decoder> make_decoder(const PolicyInfo& policy, const Parameters& parameters,
                                      const PolicyContext& context,
                                      const GivenClusters* clusters = nullptr);

}  // namespace doublep::cuda
