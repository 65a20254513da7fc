// A trace: what decode attention of one sequence saw, as a model computed it; an HDF5 file of the
// format kv-trace, version 1, or a folder of tensors.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/base/file.h"
#include "core/cache/kv_cache.h"
#include "core/trace/source.h"

namespace doublep {

/// KV heads of a layer that are read together, and the query heads that read them: all, or what
/// fits into memory.
struct LayerPart {
  LayerPart(int of_layer, int first = 0, int count = 0)  // a layer is a part: not explicit
      : layer(of_layer), first_kv_head(first), kv_heads(count) {}
  int layer, first_kv_head;
  int kv_heads;  ///< 0: all from the first on
  friend auto operator<=>(const LayerPart&, const LayerPart&) = default;
};

/// A layer or a part of one in memory, float32: keys and values of its KV heads, and what belongs
/// to all query heads of the layer.
struct TraceLayer {
  int layer = 0, first_kv_head = 0, kv_heads = 0;
  std::vector<float> keys;     ///< [kv_heads, num_tokens, head_dim]
  std::vector<float> values;   ///< [kv_heads, num_tokens, value_dim]
  std::vector<float> queries;  ///< [num_steps, num_query_heads, head_dim]
  std::vector<float> outputs;  ///< [num_steps, num_query_heads, value_dim] as recorded, or empty
  /// [P, num_query_heads, head_dim] of the P prompt positions before positions[0], or empty.
  std::vector<float> prefill_queries;
};

/// Bytes of a trace's files that opening may hold in memory where nothing else is said: so much is
/// read once, more is read from the disk for its hash, for its checks and for every read_layer.
inline constexpr std::int64_t kMostHeld = std::int64_t{1} << 30;

class Trace {
 public:
  /// Opens and validates everything, of a kv-trace or a folder: what it says of itself, shapes,
  /// storage, positions, finite values (read 16 MiB at a time). Nothing is believed: HDF5's
  /// metadata, and what passes through filters, are read in a child process first
  /// (core/trace/hdf5/probe.h). Throws InputError that names file, tensor and remedy. A part of the
  /// library doublep::kv_trace, with HDF5.
  static Trace open(const std::string& path, std::int64_t most_held = kMostHeld);
  /// The same for folders only: a part of doublep::trace, without HDF5.
  static Trace open_folder(const std::string& folder, std::int64_t most_held = kMostHeld);

  const TraceInfo& info() const { return source_->info(); }
  /// 16 hex digits over the bytes of its file or files, which are all that is ever read.
  const std::string& content_hash() const { return hash_; }
  std::int64_t held_bytes() const { return source_->held_bytes(); }
  /// Throws InputError where its files no longer hold what was opened.
  void require_unchanged() const;
  /// The same by sizes and times where those tell of no change, without reading: for between parts
  /// of what require_unchanged judges in the end.
  void require_untouched() const;
  /// Throws InputError, naming it, for a layer that the trace does not hold or whose attention is
  /// another than softmax over all visible keys.
  void require_layers(const std::vector<int>& layers) const;
  /// Reads the keys and values of the part's heads, and of no others.
  TraceLayer read_layer(const LayerPart& part) const;
  /// Bytes of keys and values of one KV head of a layer, in memory.
  std::int64_t head_bytes() const;

  /// The cache of what was read, with all its tokens, and its prefill queries; `first(positions[t]
  /// + 1)` is what step t sees. Queries are those of its query heads.
  KvCacheView cache(const TraceLayer& layer) const;
  QueryBlock queries(const TraceLayer& layer, std::int64_t step) const;

 private:
  using Opener = std::unique_ptr<TraceSource>(const std::string& path, std::int64_t most_held);
  static Trace open_by(Opener& opener, const std::string& path, std::int64_t most_held);
  bool stamps_changed() const;
  /// Where in a position's queries those of the part begin.
  std::int64_t first_query(const TraceLayer& layer) const;

  std::string hash_;
  std::vector<std::pair<std::string, FileStamp>> stamps_;  // of its files, before they were read
  bool settled_ = true;                                    // see FileStamp::settled
  std::shared_ptr<const TraceSource> source_;
};

}  // namespace doublep
