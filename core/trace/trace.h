// kv-trace, version 1: what decode attention of one sequence saw, as a model computed it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/cache/kv_cache.h"
#include "core/cache/query_block.h"
#include "core/trace/h5.h"

namespace doublep {

struct TraceInfo {
  std::string path, name;  ///< name: the file's, without folder and suffix
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

/// One layer in memory, float32.
struct TraceLayer {
  int layer = 0;
  std::vector<float> keys;     ///< [num_kv_heads, num_tokens, head_dim]
  std::vector<float> values;   ///< [num_kv_heads, num_tokens, value_dim]
  std::vector<float> queries;  ///< [num_steps, num_query_heads, head_dim]
  std::vector<float> outputs;  ///< [num_steps, num_query_heads, value_dim] as recorded, or empty
  /// [P, num_query_heads, head_dim] of the P prompt positions before positions[0], or empty.
  std::vector<float> prefill_queries;
};

class Trace {
 public:
  /// Opens and validates everything: attributes, shapes, storage, positions, finite values (read 16
  /// MiB at a time). Nothing is believed: metadata, and what passes through filters, are read in a
  /// child process first (core/trace/probe.h). Throws InputError that names file, dataset and
  /// remedy.
  static Trace open(const std::string& path);

  const TraceInfo& info() const { return info_; }
  /// 16 hex digits over the file's bytes, which are all that is ever read: see h5::open_dataset.
  const std::string& content_hash() const { return hash_; }
  /// Throws InputError where the file at the path no longer holds what was opened.
  void require_unchanged() const;
  /// Throws InputError, naming it, for a layer that the trace does not hold or whose attention is
  /// another than softmax over all visible keys.
  void require_layers(const std::vector<int>& layers) const;
  TraceLayer read_layer(int layer) const;

  /// The cache of a layer with all its tokens, and its prefill queries; `first(positions[t] + 1)`
  /// is what step t sees.
  KvCacheView cache(const TraceLayer& layer) const;
  QueryBlock queries(const TraceLayer& layer, std::int64_t step) const;

 private:
  TraceInfo info_;
  std::string hash_;
  h5::Handle file_;
};

}  // namespace doublep
