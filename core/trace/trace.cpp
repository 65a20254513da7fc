#include "core/trace/trace.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/trace/float_dataset.h"

namespace doublep {
namespace {

std::int64_t required_int(hid_t file, const char* name, const std::string& path, std::int64_t low) {
  const auto value = h5::read_int(file, name, path);
  if (!value) fail_input(path, ": attribute ", name, " is missing; a kv-trace has it at the root");
  if (*value < low)
    fail_input(path, ": attribute ", name, " is ", *value, ", expected at least ", low);
  if (*value > std::numeric_limits<int>::max())  // heads and dimensions are kept as int
    fail_input(path, ": attribute ", name, " is ", *value, ", more than this program can index");
  return *value;
}

void check_format(hid_t file, const std::string& path) {
  const auto format = h5::read_string(file, "format", path);
  if (!format || *format != "kv-trace")
    fail_input(path, ": attribute format is ", format ? "'" + *format + "'" : "missing",
               ", expected 'kv-trace'; is this a trace?");
  if (const auto version = required_int(file, "version", path, 1); version != 1)
    fail_input(path, ": kv-trace version ", version, " is not known; this program reads version 1");
}

void read_attributes(hid_t file, TraceInfo& info) {
  const std::string& path = info.path;
  info.model = h5::read_string(file, "model", path).value_or("");
  info.task = h5::read_string(file, "task", path).value_or("");
  info.num_query_heads = static_cast<int>(required_int(file, "num_query_heads", path, 1));
  info.num_kv_heads = static_cast<int>(required_int(file, "num_kv_heads", path, 1));
  info.head_dim = static_cast<int>(required_int(file, "head_dim", path, 1));
  info.num_tokens = required_int(file, "num_tokens", path, 1);
  info.seed = h5::read_int(file, "seed", path).value_or(0);
  info.rope_applied = h5::read_int(file, "rope_applied", path).value_or(1) != 0;
  const auto scale = h5::read_real(file, "softmax_scale", path);
  if (!scale) fail_input(path, ": attribute softmax_scale is missing; usually 1/sqrt(head_dim)");
  if (!(*scale > 0) || !std::isfinite(*scale))
    fail_input(path, ": attribute softmax_scale is ", *scale, ", expected a positive number");
  info.softmax_scale = *scale;
  if (!info.rope_applied)
    fail_input(path,
               ": attribute rope_applied is false; record keys and queries as they enter the "
               "dot product");
  if (info.num_query_heads % info.num_kv_heads != 0)
    fail_input(path, ": num_query_heads (", info.num_query_heads,
               ") is no multiple of num_kv_heads (", info.num_kv_heads,
               "); each KV head serves a whole group");
}

void read_positions(hid_t file, TraceInfo& info) {
  const std::string place = info.path + ": dataset positions";
  if (!h5::exists(file, "positions")) fail_input(place, " is missing; it has one entry a step");
  const h5::Handle dataset(H5Dopen2(file, "positions", H5P_DEFAULT), H5Dclose);
  const h5::Handle type(dataset ? H5Dget_type(dataset.get()) : -1, H5Tclose);
  if (!dataset || H5Tget_class(type.get()) != H5T_INTEGER || h5::shape(dataset.get()).size() != 1)
    fail_input(place, ": expected one dimension of int64");
  const std::int64_t steps = h5::shape(dataset.get())[0];
  if (steps > info.num_tokens)  // and no memory is asked for what a damaged header claims
    fail_input(place, " has ", steps, " entries, but there are only ", info.num_tokens,
               " keys; positions are strictly increasing from 0 on");
  info.positions.resize(steps);
  if (info.positions.empty()) fail_input(place, " is empty; a trace has at least one step");
  if (H5Dread(dataset.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT,
              info.positions.data()) < 0)
    fail_input(place, ": cannot be read; the file is damaged, record it again");
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

void read_layer_names(hid_t file, TraceInfo& info) {
  const h5::Handle layers = h5::open_group(file, "layers", info.path);
  for (const std::string& name : h5::children(layers.get())) {
    int index = -1;
    const auto end = std::from_chars(name.data(), name.data() + name.size(), index);
    // "01" would be read, and then looked for as "1".
    if (end.ec != std::errc() || end.ptr != name.data() + name.size() || index < 0 ||
        name != std::to_string(index))
      fail_input(info.path, ": group layers/", name, ": expected the layer's index as its name");
    info.layers.push_back(index);
  }
  std::sort(info.layers.begin(), info.layers.end());
  if (info.layers.empty())
    fail_input(info.path, ": group layers is empty; record at least one layer");
}

struct Expected {
  const char* name;
  std::vector<std::int64_t> shape;
};

std::vector<Expected> datasets_of(const TraceInfo& info) {
  const std::vector<std::int64_t> cache = {info.num_kv_heads, info.num_tokens, info.head_dim};
  const std::vector<std::int64_t> step = {info.num_steps(), info.num_query_heads, info.head_dim};
  return {{"keys", cache}, {"values", cache}, {"queries", step}, {"outputs", step}};
}

std::string dataset_path(int layer, const char* name) {
  return concat("layers/", layer, "/", name);
}

}  // namespace

Trace Trace::open(const std::string& path) {
  Trace trace;
  trace.info_.path = path;
  trace.info_.name = std::filesystem::path(path).stem().string();
  trace.file_ = h5::open_file(path);
  const hid_t file = trace.file_.get();
  check_format(file, path);
  read_attributes(file, trace.info_);
  read_positions(file, trace.info_);
  read_layer_names(file, trace.info_);
  for (int layer : trace.info_.layers)
    for (const Expected& expected : datasets_of(trace.info_)) {
      const std::string name = dataset_path(layer, expected.name);
      if (expected.name == std::string("outputs") && !h5::exists(file, name)) continue;
      FloatDataset(file, name, path, expected.shape).check_finite();
    }
  trace.hash_ = hash_file(path);
  return trace;
}

TraceLayer Trace::read_layer(int layer) const {
  if (!std::binary_search(info_.layers.begin(), info_.layers.end(), layer)) {
    std::string held;
    for (int l : info_.layers) held += concat(held.empty() ? "" : ", ", l);
    fail_input(info_.path, ": has no layer ", layer, "; it holds ", held);
  }
  TraceLayer out;
  out.layer = layer;
  std::vector<float>* const targets[] = {&out.keys, &out.values, &out.queries, &out.outputs};
  const auto expected = datasets_of(info_);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const std::string name = dataset_path(layer, expected[i].name);
    if (targets[i] == &out.outputs && !h5::exists(file_.get(), name)) continue;
    *targets[i] = FloatDataset(file_.get(), name, info_.path, expected[i].shape).read();
  }
  return out;
}

KvCacheView Trace::cache(const TraceLayer& layer) const {
  return {layer.keys.data(), layer.values.data(), info_.num_kv_heads,
          info_.num_tokens,  info_.num_tokens,    info_.head_dim};
}

QueryBlock Trace::queries(const TraceLayer& layer, std::int64_t step) const {
  const std::int64_t stride = static_cast<std::int64_t>(info_.num_query_heads) * info_.head_dim;
  return {layer.queries.data() + step * stride, info_.num_query_heads, info_.head_dim,
          info_.softmax_scale, step};
}

}  // namespace doublep
