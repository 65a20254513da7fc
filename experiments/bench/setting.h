// A policy to time, in the registry's words: name:parameter=value,parameter=value. kv_dtype=fp8
// among them packs the cache, as in a sweep; it is bf16 else.
#pragma once

#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "cuda/policies/policies.h"

namespace doublep::bench {

struct Setting {
  std::string label;  ///< as it was given
  const PolicyInfo* policy;
  Parameters parameters;
  cuda::Plan plan;

  KvDtype dtype() const { return plan.fp8 ? KvDtype::kFp8 : KvDtype::kBf16; }
  /// Dense attention over an unpacked cache, which errors and speed-ups are measured against.
  bool is_truth() const { return policy->traits.dense && !plan.fp8; }
};

/// `texts`, each of which the device can read from a packed cache followed by itself with
/// kv_dtype=fp8.
std::vector<std::string> with_fp8(const std::vector<std::string>& texts);

/// `defaults`: parameter=value, for every policy that has it and does not say otherwise. Throws
/// InputError where a policy or parameter is unknown, a value is none, or the device does not serve
/// it.
std::vector<Setting> parse_settings(const std::vector<std::string>& texts,
                                    const std::vector<std::string>& defaults,
                                    const cuda::Request& request);

/// Shape and type of the caches that these traces fill. Throws InputError where they differ.
cuda::Request request_of(const std::vector<std::string>& traces, int kv_heads);

/// Throws InputError where a setting learns from the prompt's queries and a trace has too few.
void check_prompts(const std::vector<Setting>& settings, const std::vector<std::string>& traces);

/// Settings of one key read the same cache and index.
std::string index_key(const cuda::Plan& plan);
/// Places in the list: dense first, whose outputs the others' errors are against; then those in
/// token order, then by clustering, so that caches and indexes are made once.
std::vector<std::size_t> in_order(const std::vector<Setting>& settings);

/// Throws InputError where a setting that selects by rank has more clusters at one of the contexts
/// than room(rule): cuda::ranked_room() of `team`, what --select-team asks for, or 0.
using Room = std::function<std::int64_t(cuda::SelectRule rule)>;
void check_rooms(const std::vector<Setting>& settings, const std::vector<std::int64_t>& contexts,
                 const Room& room, int team);

/// A line a setting: what it stands for with every default, for --dry-run.
void print_settings(const std::vector<Setting>& settings, std::ostream& out);

}  // namespace doublep::bench
