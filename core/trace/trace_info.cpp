#include "core/trace/trace_info.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/trace/tensor.h"

namespace doublep {
namespace {

constexpr double kMinScale = 1e-6, kMaxScale = 1e3;

}  // namespace

std::vector<LayerTensor> layer_tensors(const TraceInfo& info) {
  const std::int64_t kv = info.num_kv_heads, heads = info.num_query_heads;
  return {{"keys", {kv, info.num_tokens, info.head_dim}, false},
          {"values", {kv, info.num_tokens, info.value_dim}, false},
          {"queries", {info.num_steps(), heads, info.head_dim}, false},
          {"outputs", {info.num_steps(), heads, info.value_dim}, true},
          {"prefill_queries", {kAnyExtent, heads, info.head_dim}, true}};
}

std::int64_t checked_count(const std::string& place, std::int64_t value, std::int64_t low,
                           std::int64_t high) {
  if (value < low) fail_input(place, " is ", value, ", expected at least ", low);
  if (value > high)
    fail_input(place, " is ", value, ", expected at most ", high, "; is the file damaged?");
  return value;
}

void check_scale(double scale, const std::string& place) {
  if (!(scale > 0) || !std::isfinite(scale))
    fail_input(place, " is ", scale, ", expected a positive number");
  if (scale < kMinScale || scale > kMaxScale)
    fail_input(place, " is ", scale, ", expected ", kMinScale, " to ", kMaxScale,
               ", usually 1/sqrt(head_dim)");
}

void check_rope(bool applied, const std::string& place) {
  if (!applied)
    fail_input(place, " is false; record keys and queries as they enter the dot product");
}

void check_groups(const TraceInfo& info) {
  if (info.num_query_heads % info.num_kv_heads != 0)
    fail_input(info.path, ": num_query_heads (", info.num_query_heads,
               ") is no multiple of num_kv_heads (", info.num_kv_heads,
               "); each KV head serves a whole group");
}

void check_num_positions(std::int64_t count, std::int64_t num_tokens, const std::string& place) {
  if (count > num_tokens)
    fail_input(place, " has ", count, " entries, but there are only ", num_tokens,
               " keys; positions are strictly increasing from 0 on");
  if (count > kMaxSteps)
    fail_input(place, " has ", count, " entries, expected at most ", kMaxSteps,
               "; record fewer decode steps");
  if (count == 0) fail_input(place, " is empty; a trace has at least one step");
}

void check_positions(const TraceInfo& info, const std::string& place) {
  std::int64_t previous = -1;
  for (std::size_t t = 0; t < info.positions.size(); ++t) {
    const std::int64_t p = info.positions[t];
    if (p <= previous)
      fail_input(place, "[", t, "] is ", p, " after ", previous,
                 "; positions are strictly increasing from 0 on");
    if (p >= info.num_tokens)
      fail_input(place, "[", t, "] is ", p, ", but there are only ", info.num_tokens,
                 " keys; a step sees the keys 0 .. positions[t]");
    previous = p;
  }
}

void note_prefill_queries(std::int64_t count, const std::string& place, TraceInfo& info) {
  if (count > info.positions[0])  // the prompt's, before the first step
    fail_input(place, " has ", count, " positions, but the prompt has only ", info.positions[0],
               " before the first step; leave out the queries of the steps");
  info.prefill_queries = std::max(info.prefill_queries, count);
}

void note_other_attention(int layer, double logit_softcap, double sliding_window, TraceInfo& info) {
  const auto note = [&](const char* name, double value) {
    std::string& why = info.other_attention[layer];
    why += concat(why.empty() ? "" : " and ", name, " = ", value);
  };
  if (logit_softcap != 0) note("logit_softcap", logit_softcap);
  if (sliding_window != 0 && sliding_window < static_cast<double>(info.num_tokens))
    note("sliding_window", sliding_window);
}

}  // namespace doublep
