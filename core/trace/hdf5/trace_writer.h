// Writes a kv-trace, version 1, as it is produced: a layer at a time, or a run of tokens at a time
// where a layer is too long to be held.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "core/base/output.h"
#include "core/trace/hdf5/float_dataset.h"
#include "core/trace/trace.h"

namespace doublep {

/// The file appears under its name only when finish() has returned: until then everything goes to
/// `<path>.partial`, which is removed where anything fails or the writer goes away unfinished. An
/// earlier file of that name is intact until then. Every failure is an InputError.
class TraceWriter {
 public:
  /// Writes attributes and positions to `<info.path>.partial`. `info.name` and the order of
  /// `info.layers` do not matter. Throws where the reader would refuse the result.
  TraceWriter(const TraceInfo& info, StoredType type);

  /// A whole layer; `outputs` and `prefill_queries` may be empty.
  void write_layer(const TraceLayer& layer);

  /// Or piece by piece: begin_layer, then every key and value once, and the queries.
  void begin_layer(int layer);
  /// float32 [count, head_dim or value_dim]: the tokens [first, first + count) of one KV head.
  void write_keys(int kv_head, std::int64_t first, std::int64_t count, const float* rows);
  void write_values(int kv_head, std::int64_t first, std::int64_t count, const float* rows);
  void write_queries(const float* rows);  ///< float32 [num_steps, num_query_heads, head_dim]
  void write_outputs(const float* rows);  ///< with value_dim; always stored as float32
  /// float32 [count, num_query_heads, head_dim]: the `count` positions before positions[0].
  void write_prefill_queries(std::int64_t count, const float* rows);

  /// Flushes to the disk and gives the file its name. All of info.layers have been written.
  void finish();

 private:
  void write_cache(const char* name, const h5::Handle& dataset, int kv_head, std::int64_t first,
                   std::int64_t count, int dim, const float* rows);
  void write_steps(const char* name, std::int64_t steps, int dim, const float* rows,
                   StoredType type);
  void check_layer_complete() const;
  std::string place(const char* name) const;

  TraceInfo info_;
  StoredType type_;
  OutputFile output_;  // before the handles, which are closed before it goes
  h5::Handle file_, group_, keys_, values_;
  int layer_ = -1;
  std::int64_t rows_left_ = 0;  ///< of keys and values of the current layer
  bool has_queries_ = false;
  std::set<int> written_;
};

}  // namespace doublep
