// What a trace says of itself and the tensors that it then has to hold, wherever it lies; and the
// bounds of what is believed. Every check throws InputError; `place` is "file: where" for its line.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace doublep {

struct TraceInfo {
  std::string path, name;  ///< name: the file's or folder's, without folder and suffix
  std::string model, task;
  int num_query_heads = 0, num_kv_heads = 0, head_dim = 0;
  int value_dim = 0;  ///< of a value; head_dim but in latent attention (MLA)
  std::int64_t num_tokens = 0;
  double softmax_scale = 0;
  bool rope_applied = true;
  std::int64_t seed = 0;
  std::vector<std::int64_t> positions;  ///< step t sees the keys 0 .. positions[t]
  std::vector<int> layers;              ///< indices in the model, ascending
  std::int64_t prefill_queries = 0;     ///< positions of the prompt, the most of any layer
  /// Layers whose attention is not plain softmax over all visible keys, with what it is:
  /// "sliding_window = 512". They are listed in `layers`, and refused when they are to be read.
  std::map<int, std::string> other_attention;

  int group_size() const { return num_query_heads / num_kv_heads; }
  std::int64_t num_steps() const { return static_cast<std::int64_t>(positions.size()); }
};

/// A tensor of a layer and the shape that the trace's counts demand (kAnyExtent where free).
struct LayerTensor {
  const char* name;
  std::vector<std::int64_t> shape;
  bool optional;
};
/// In the order keys, values, queries, outputs, prefill_queries.
std::vector<LayerTensor> layer_tensors(const TraceInfo& info);

/// Far above any model. What is beyond them is a mistake or a trap, and costs time to find out.
inline constexpr std::int64_t kMaxHeads = 1 << 14, kMaxDim = 1 << 16, kMaxSteps = 1 << 20;
inline constexpr std::int64_t kMaxLayers = 4096;

/// `value`, where it lies between the two.
std::int64_t checked_count(const std::string& place, std::int64_t value, std::int64_t low,
                           std::int64_t high);
void check_scale(double scale, const std::string& place);
void check_rope(bool applied, const std::string& place);
/// Query heads are a multiple of KV heads.
void check_groups(const TraceInfo& info);
/// How many there may be, before memory is asked for them; then that they increase, and stay below
/// the number of tokens.
void check_num_positions(std::int64_t count, std::int64_t num_tokens, const std::string& place);
void check_positions(const TraceInfo& info, const std::string& place);
/// The prompt's positions of a layer's `prefill_queries`, noted in `info`.
void note_prefill_queries(std::int64_t count, const std::string& place, TraceInfo& info);
/// A layer's soft cap and sliding window; 0 is none, and a window that hides nothing is none.
void note_other_attention(int layer, double logit_softcap, double sliding_window, TraceInfo& info);

}  // namespace doublep
