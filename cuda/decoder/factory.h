// The CUDA backend's door: may this policy run here, and a decoder of it.
#pragma once

#include <memory>
#include <string>

#include "core/decoder/decoder.h"
#include "core/policy/registry.h"

namespace doublep::cuda {

/// Empty where a device is ready; else one line that says what is missing (no driver, no device).
/// `backend: auto` falls to the CPU then.
std::string device_problem();
/// One line: name, compute capability, multiprocessors, memory, driver and runtime versions.
std::string device_description();

/// What a decode asks of the backend, beside its policy.
struct Request {
  int num_query_heads = 0, num_kv_heads = 0, head_dim = 0;
  KvDtype dtype = KvDtype::kBf16;
};
/// Empty where the policy can run for this request; else one line that lists what was required,
/// what is supported and what is missing.
std::string refusal(const std::string& policy, const Parameters& parameters,
                    const Request& request);

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
