#include "core/trace/hdf5/trace_writer.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"

namespace doublep {
namespace {

// A file that could not be flushed, on a full disk, cannot be closed either, and HDF5's handler at
// exit crashes over it. Our handles close what they open, so the handler has nothing else to do.
// Before main, since it must come before any other call to the library.
[[maybe_unused]] const herr_t kNoExitHandler = H5dont_atexit();

void check(const TraceInfo& info) {
  const auto refuse = [&](const auto&... why) {
    fail_input(info.path, ": cannot be written: ", why...);
  };
  if (info.num_query_heads < 1 || info.num_kv_heads < 1 || info.head_dim < 1 ||
      info.value_dim < 1 || info.num_tokens < 1)
    refuse("heads, head_dim, value_dim and tokens are at least 1");
  if (info.num_query_heads % info.num_kv_heads != 0)
    refuse("query heads (", info.num_query_heads, ") are no multiple of KV heads (",
           info.num_kv_heads, ")");
  if (!(info.softmax_scale > 0) || !std::isfinite(info.softmax_scale))
    refuse("softmax_scale is a positive number");
  if (info.positions.empty() || info.layers.empty()) refuse("there is at least one step and layer");
  std::int64_t previous = -1;
  for (std::int64_t p : info.positions) {
    if (p <= previous || p >= info.num_tokens)
      refuse("positions increase strictly and stay below the number of tokens, ", info.num_tokens);
    previous = p;
  }
}

void write_positions(hid_t file, const TraceInfo& info) {
  const std::string place = info.path + ": dataset positions";
  const hsize_t steps = info.positions.size();
  const h5::Handle space(H5Screate_simple(1, &steps, nullptr), H5Sclose);
  const h5::Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(properties.get(), false);  // the same data make the same file
  const h5::Handle dataset(H5Dcreate2(file, "positions", H5T_STD_I64LE, space.get(), H5P_DEFAULT,
                                      properties.get(), H5P_DEFAULT),
                           H5Dclose);
  h5::check_write(dataset ? H5Dwrite(dataset.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                                     info.positions.data())
                          : -1,
                  place);
}

void write_attributes(hid_t file, const TraceInfo& info) {
  h5::write_string(file, "format", "kv-trace");
  h5::write_int(file, "version", 1);
  h5::write_string(file, "model", info.model);
  h5::write_string(file, "task", info.task);
  h5::write_int(file, "num_query_heads", info.num_query_heads);
  h5::write_int(file, "num_kv_heads", info.num_kv_heads);
  h5::write_int(file, "head_dim", info.head_dim);
  if (info.value_dim != info.head_dim) h5::write_int(file, "value_dim", info.value_dim);
  h5::write_int(file, "num_tokens", info.num_tokens);
  h5::write_real(file, "softmax_scale", info.softmax_scale);
  h5::write_int(file, "rope_applied", info.rope_applied);
  h5::write_int(file, "seed", info.seed);
}

}  // namespace

TraceWriter::TraceWriter(const TraceInfo& info, StoredType type)
    : info_(info), type_(type), output_(info.path) {
  if (info_.value_dim == 0) info_.value_dim = info_.head_dim;
  check(info_);
  file_ = h5::create_file(output_.aside());
  write_attributes(file_.get(), info_);
  write_positions(file_.get(), info_);
  h5::create_group(file_.get(), "layers", info_.path);
}

std::string TraceWriter::place(const char* name) const {
  return concat(info_.path, ": dataset layers/", layer_, "/", name);
}

void TraceWriter::check_layer_complete() const {
  DP_EXPECTS(rows_left_ == 0 && (layer_ < 0 || has_queries_), "a layer is written whole");
}

void TraceWriter::begin_layer(int layer) {
  check_layer_complete();
  DP_EXPECTS(std::count(info_.layers.begin(), info_.layers.end(), layer) == 1 &&
                 written_.insert(layer).second,
             "a layer of the announced ones, once");
  layer_ = layer, has_queries_ = false;
  rows_left_ = 2 * info_.num_kv_heads * info_.num_tokens;
  group_ = h5::create_group(file_.get(), concat("layers/", layer), info_.path);
  const auto create = [&](const char* name, int dim) {
    return create_float_dataset(group_.get(), name, {info_.num_kv_heads, info_.num_tokens, dim},
                                type_, place(name));
  };
  keys_ = create("keys", info_.head_dim);
  values_ = create("values", info_.value_dim);
}

void TraceWriter::write_cache(const char* name, const h5::Handle& dataset, int kv_head,
                              std::int64_t first, std::int64_t count, int dim, const float* rows) {
  DP_EXPECTS(layer_ >= 0 && kv_head >= 0 && kv_head < info_.num_kv_heads && first >= 0 &&
                 first + count <= info_.num_tokens,
             "tokens of a KV head of the layer begun");
  write_float_block(dataset.get(), {kv_head, first, 0}, {1, count, dim}, rows, type_, place(name));
  rows_left_ -= count;
}

void TraceWriter::write_keys(int kv_head, std::int64_t first, std::int64_t count,
                             const float* rows) {
  write_cache("keys", keys_, kv_head, first, count, info_.head_dim, rows);
}

void TraceWriter::write_values(int kv_head, std::int64_t first, std::int64_t count,
                               const float* rows) {
  write_cache("values", values_, kv_head, first, count, info_.value_dim, rows);
}

void TraceWriter::write_steps(const char* name, std::int64_t steps, int dim, const float* rows,
                              StoredType type) {
  DP_EXPECTS(layer_ >= 0, "begin_layer comes first");
  const std::vector<std::int64_t> shape = {steps, info_.num_query_heads, dim};
  const h5::Handle dataset = create_float_dataset(group_.get(), name, shape, type, place(name));
  write_float_block(dataset.get(), {0, 0, 0}, shape, rows, type, place(name));
}

void TraceWriter::write_queries(const float* rows) {
  write_steps("queries", info_.num_steps(), info_.head_dim, rows, type_);
  has_queries_ = true;
}

void TraceWriter::write_outputs(const float* rows) {
  write_steps("outputs", info_.num_steps(), info_.value_dim, rows, StoredType::kFloat32);
}

void TraceWriter::write_prefill_queries(std::int64_t count, const float* rows) {
  DP_EXPECTS(count > 0 && count <= info_.positions[0], "positions of the prompt");
  write_steps("prefill_queries", count, info_.head_dim, rows, type_);
}

void TraceWriter::write_layer(const TraceLayer& layer) {
  begin_layer(layer.layer);
  const std::int64_t keys = info_.num_tokens * info_.head_dim,
                     values = info_.num_tokens * info_.value_dim;
  DP_EXPECTS(static_cast<std::int64_t>(layer.keys.size()) == keys * info_.num_kv_heads &&
                 static_cast<std::int64_t>(layer.values.size()) == values * info_.num_kv_heads,
             "keys and values of every KV head");
  for (int h = 0; h < info_.num_kv_heads; ++h) {
    write_keys(h, 0, info_.num_tokens, layer.keys.data() + h * keys);
    write_values(h, 0, info_.num_tokens, layer.values.data() + h * values);
  }
  write_queries(layer.queries.data());
  if (!layer.outputs.empty()) write_outputs(layer.outputs.data());
  const std::int64_t row = static_cast<std::int64_t>(info_.num_query_heads) * info_.head_dim;
  if (!layer.prefill_queries.empty())
    write_prefill_queries(static_cast<std::int64_t>(layer.prefill_queries.size()) / row,
                          layer.prefill_queries.data());
}

void TraceWriter::finish() {
  check_layer_complete();
  DP_EXPECTS(written_.size() == info_.layers.size(), "every announced layer is written");
  bool closed = true;
  for (h5::Handle* handle : {&keys_, &values_, &group_, &file_}) closed &= handle->close();
  h5::check_write(closed ? 0 : -1, info_.path);
  output_.commit();
}

}  // namespace doublep
