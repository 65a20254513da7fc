#include "core/trace/trace.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/hash.h"
#include "core/trace/float_dataset.h"
#include "core/trace/probe.h"
#include "core/trace/trace_header.h"

namespace doublep {
namespace {

// Of which a hole in a file is no excuse: file systems that compress store a part, not a crumb.
constexpr std::int64_t kSmallFile = 1 << 20, kMaxHole = 64;
constexpr double kUnpackedPerSecond = 20e6;  // bytes, of a slow CPU under a sanitizer

enum class Values { kFiltered, kPlain };

// NaN, infinity and nonsense, in all datasets of one kind; returns the float32 bytes of the others.
double check_values(hid_t file, const TraceInfo& info, Values kind) {
  double others = 0;
  for (int layer : info.layers)
    for (const LayerDataset& expected : layer_datasets(info)) {
      const std::string name = dataset_path(layer, expected.name);
      if (expected.optional && !h5::exists(file, name)) continue;
      const FloatDataset dataset(file, name, info.path, expected.shape);
      if (dataset.filtered() == (kind == Values::kFiltered))
        dataset.check_values();
      else
        others += 4 * dataset.num_values();
    }
  return others;
}

void refuse_holes(const FileStamp& stamp, const std::string& path) {
  if (stamp.size > kSmallFile && stamp.stored > 0 && stamp.size / kMaxHole > stamp.stored)
    fail_input(path, ": is ", stamp.size, " bytes long, of which the disk holds ", stamp.stored,
               "; it was not copied whole, copy or record it again");
}

}  // namespace

Trace Trace::open(const std::string& path) {
  require_regular_file(path);
  Trace trace;
  const FileStamp stamp = FileStamp::of(path);
  refuse_holes(stamp, path);
  h5::quiet();
  h5::probe(path, [&] { read_trace_header(h5::open_file(path).get(), path); });
  trace.file_ = h5::open_file(path);
  const hid_t file = trace.file_.get();
  trace.info_ = read_trace_header(file, path);
  if (const double packed = check_values(file, trace.info_, Values::kPlain); packed > 0) {
    // What a chunk unpacks to is not bounded by what it says: in the child it is, by memory.
    h5::ProbeLimits limits;
    limits.cpu_seconds += packed / kUnpackedPerSecond;
    h5::probe(
        path, [&] { check_values(h5::open_file(path).get(), trace.info_, Values::kFiltered); },
        limits);
  }
  trace.hash_ = hash_file(path);
  if (!(FileStamp::of(path) == stamp))
    fail_input(path, ": changed while it was read; wait until it is written, then try again");
  return trace;
}

void Trace::require_unchanged() const {
  // Not size and times alone: clocks are coarse, times can be set, and a file that was touched or
  // copied anew with the same bytes is the same trace.
  if (hash_file(info_.path) != hash_)
    fail_input(info_.path,
               ": changed while it was replayed; what was read of it is not kept, run again");
}

void Trace::require_layers(const std::vector<int>& layers) const {
  for (int layer : layers) {
    if (!std::binary_search(info_.layers.begin(), info_.layers.end(), layer)) {
      std::string held;
      for (int l : info_.layers) held += concat(held.empty() ? "" : ", ", l);
      fail_input(info_.path, ": has no layer ", layer, "; it holds ", held);
    }
    if (const auto other = info_.other_attention.find(layer); other != info_.other_attention.end())
      fail_input(info_.path, ": layers/", layer, " has ", other->second,
                 ", which is not supported: only plain softmax over all visible keys is; choose "
                 "other layers (replay: {layers: [...]} in a sweep)");
  }
}

TraceLayer Trace::read_layer(int layer) const {
  require_layers({layer});
  TraceLayer out;
  out.layer = layer;
  std::vector<float>* const targets[] = {&out.keys, &out.values, &out.queries, &out.outputs,
                                         &out.prefill_queries};
  const auto datasets = layer_datasets(info_);
  for (std::size_t i = 0; i < datasets.size(); ++i) {
    const std::string name = dataset_path(layer, datasets[i].name);
    if (datasets[i].optional && !h5::exists(file_.get(), name)) continue;
    *targets[i] = FloatDataset(file_.get(), name, info_.path, datasets[i].shape).read();
  }
  return out;
}

KvCacheView Trace::cache(const TraceLayer& layer) const {
  const int heads = info_.num_query_heads;
  const std::int64_t stride = static_cast<std::int64_t>(heads) * info_.head_dim;
  return {layer.keys.data(),
          layer.values.data(),
          info_.num_kv_heads,
          info_.num_tokens,
          info_.num_tokens,
          info_.head_dim,
          info_.value_dim,
          {layer.prefill_queries.data(),
           static_cast<std::int64_t>(layer.prefill_queries.size()) / stride, heads, info_.head_dim,
           stride}};
}

QueryBlock Trace::queries(const TraceLayer& layer, std::int64_t step) const {
  const std::int64_t stride = static_cast<std::int64_t>(info_.num_query_heads) * info_.head_dim;
  return {layer.queries.data() + step * stride, info_.num_query_heads, info_.head_dim,
          info_.softmax_scale, step};
}

}  // namespace doublep
