#include "core/trace/trace.h"

#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "core/trace/source.h"

namespace doublep {
namespace {

// Of which a hole in a file is no excuse: file systems that compress store a part, not a crumb.
constexpr std::int64_t kSmallFile = 1 << 20, kMaxHole = 64;
void refuse_holes(const FileStamp& stamp, const std::string& path) {
  if (stamp.size > kSmallFile && stamp.stored > 0 && stamp.size / kMaxHole > stamp.stored)
    fail_input(path, ": is ", stamp.size, " bytes long, of which the disk holds ", stamp.stored,
               "; it was not copied whole, copy or record it again");
}

}  // namespace

Trace Trace::open_by(Opener& opener, const std::string& path, std::int64_t most_held) {
  Trace trace;
  for (const std::string& file : trace_files(path)) {
    require_regular_file(file);
    const FileStamp stamp = FileStamp::of(file);
    refuse_holes(stamp, file);
    trace.settled_ &= stamp.settled();
    trace.stamps_.emplace_back(file, stamp);
  }
  trace.source_ = opener(path, most_held);
  trace.hash_ = trace.source_->hash(false);
  // Whatever becomes of the other files of a folder.
  const std::vector<std::string> read = trace.source_->files();
  const std::set<std::string> files(read.begin(), read.end());
  const auto other = [&](const auto& file) { return files.count(file.first) == 0; };
  trace.stamps_.erase(std::remove_if(trace.stamps_.begin(), trace.stamps_.end(), other),
                      trace.stamps_.end());
  for (const auto& [file, stamp] : trace.stamps_)
    if (!(FileStamp::of(file) == stamp)) fail_input(file, kChangedWhileRead);
  return trace;
}

Trace Trace::open_folder(const std::string& folder, std::int64_t most_held) {
  return open_by(doublep::open_folder, folder, most_held);
}

bool Trace::stamps_changed() const {
  return std::any_of(stamps_.begin(), stamps_.end(),
                     [](const auto& s) { return !(FileStamp::of(s.first) == s.second); });
}

void Trace::require_unchanged() const {
  // Layers come from the very bytes that were hashed, where those are held: what is computed from
  // them is right whatever becomes of the files, and size and times are enough to notice it. Else
  // they are not: times can be set, and a file that was touched or copied anew with the same bytes
  // is the same trace.
  if (held_bytes() > 0 && settled_ && !stamps_changed()) return;
  if (source_->hash(true) != hash_)
    fail_input(info().path,
               ": changed while it was replayed; what was read of it is not kept, run again");
}

void Trace::require_untouched() const {
  if (stamps_changed()) require_unchanged();
}

void Trace::require_layers(const std::vector<int>& layers) const {
  const TraceInfo& info = this->info();
  for (int layer : layers) {
    if (!std::binary_search(info.layers.begin(), info.layers.end(), layer)) {
      std::string held;
      for (int l : info.layers) held += concat(held.empty() ? "" : ", ", l);
      fail_input(info.path, ": has no layer ", layer, "; it holds ", held);
    }
    if (const auto other = info.other_attention.find(layer); other != info.other_attention.end())
      fail_input(info.path, ": layers/", layer, " has ", other->second,
                 ", which is not supported: only plain softmax over all visible keys is; choose "
                 "other layers (replay: {layers: [...]} in a sweep)");
  }
}

TraceLayer Trace::read_layer(const LayerPart& part) const {
  require_layers({part.layer});
  TraceLayer out;
  out.layer = part.layer, out.first_kv_head = part.first_kv_head;
  out.kv_heads = part.kv_heads > 0 ? part.kv_heads : info().num_kv_heads - part.first_kv_head;
  std::vector<float>* const targets[] = {&out.keys, &out.values, &out.queries, &out.outputs,
                                         &out.prefill_queries};
  const auto tensors = layer_tensors(info());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const bool by_kv_head = targets[i] == &out.keys || targets[i] == &out.values;
    *targets[i] = source_->read(part.layer, tensors[i], by_kv_head ? out.first_kv_head : 0,
                                by_kv_head ? out.kv_heads : 0);
  }
  return out;
}

std::int64_t Trace::head_bytes() const {
  return static_cast<std::int64_t>(sizeof(float)) * info().num_tokens *
         (info().head_dim + info().value_dim);
}

std::int64_t Trace::first_query(const TraceLayer& layer) const {
  return static_cast<std::int64_t>(layer.first_kv_head) * info().group_size() * info().head_dim;
}

KvCacheView Trace::cache(const TraceLayer& layer) const {
  const std::int64_t stride = static_cast<std::int64_t>(info().num_query_heads) * info().head_dim;
  return {
      layer.keys.data(),
      layer.values.data(),
      layer.kv_heads,
      info().num_tokens,
      info().num_tokens,
      info().head_dim,
      info().value_dim,
      {layer.prefill_queries.empty() ? nullptr : layer.prefill_queries.data() + first_query(layer),
       static_cast<std::int64_t>(layer.prefill_queries.size()) / stride,
       layer.kv_heads * info().group_size(), info().head_dim, stride}};
}

QueryBlock Trace::queries(const TraceLayer& layer, std::int64_t step) const {
  const std::int64_t stride = static_cast<std::int64_t>(info().num_query_heads) * info().head_dim;
  return {layer.queries.data() + step * stride + first_query(layer),
          layer.kv_heads * info().group_size(), info().head_dim, info().softmax_scale, step};
}

}  // namespace doublep
