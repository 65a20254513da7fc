// kv-trace, version 1: what decode attention of one sequence saw, as a model computed it.
#pragma once

#include <cstdint>
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
  std::int64_t num_tokens = 0;
  double softmax_scale = 0;
  bool rope_applied = true;
  std::int64_t seed = 0;
  std::vector<std::int64_t> positions;  ///< step t sees the keys 0 .. positions[t]
  std::vector<int> layers;              ///< indices in the model, ascending

  int group_size() const { return num_query_heads / num_kv_heads; }
  std::int64_t num_steps() const { return static_cast<std::int64_t>(positions.size()); }
};

/// One layer in memory, float32.
struct TraceLayer {
  int layer = 0;
  std::vector<float> keys, values;  ///< [num_kv_heads, num_tokens, head_dim]
  std::vector<float> queries;       ///< [num_steps, num_query_heads, head_dim]
  std::vector<float> outputs;       ///< like queries, or empty: dense attention as recorded
};

class Trace {
 public:
  /// Opens and validates everything: attributes, shapes, positions, finite values (read one head at
  /// a time). Throws InputError that names file, dataset and remedy.
  static Trace open(const std::string& path);

  const TraceInfo& info() const { return info_; }
  /// 16 hex digits over the file's bytes.
  const std::string& content_hash() const { return hash_; }
  TraceLayer read_layer(int layer) const;

  /// The cache of a layer with all its tokens; `first(positions[t] + 1)` is what step t sees.
  KvCacheView cache(const TraceLayer& layer) const;
  QueryBlock queries(const TraceLayer& layer, std::int64_t step) const;

 private:
  TraceInfo info_;
  std::string hash_;
  h5::Handle file_;
};

}  // namespace doublep
