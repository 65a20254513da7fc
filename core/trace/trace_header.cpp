#include "core/trace/trace_header.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>

#include "core/base/error.h"
#include "core/trace/float_dataset.h"

namespace doublep {
namespace {

// Far above any model. What is beyond them is a mistake or a trap, and costs time to find out.
constexpr std::int64_t kMaxHeads = 1 << 14, kMaxDim = 1 << 16, kMaxSteps = 1 << 20;
constexpr std::int64_t kMaxLayers = 4096;
constexpr double kMinScale = 1e-6, kMaxScale = 1e3;

std::int64_t checked_int(const std::string& path, const char* name, std::int64_t value,
                         std::int64_t low, std::int64_t high) {
  if (value < low)
    fail_input(path, ": attribute ", name, " is ", value, ", expected at least ", low);
  if (value > high)
    fail_input(path, ": attribute ", name, " is ", value, ", expected at most ", high,
               "; is the file damaged?");
  return value;
}

std::int64_t required_int(hid_t file, const char* name, const std::string& path,
                          std::int64_t high) {
  const auto value = h5::read_int(file, name, path);
  if (!value) fail_input(path, ": attribute ", name, " is missing; a kv-trace has it at the root");
  return checked_int(path, name, *value, 1, high);
}

void check_format(hid_t file, const std::string& path) {
  const auto format = h5::read_string(file, "format", path);
  if (!format || *format != "kv-trace")
    fail_input(path, ": attribute format is ",
               format ? "'" + format->substr(0, 80) + "'" : std::string("missing"),
               ", expected 'kv-trace'; is this a trace?");
  if (const auto version =
          required_int(file, "version", path, std::numeric_limits<std::int64_t>::max());
      version != 1)
    fail_input(path, ": kv-trace version ", version, " is not known; this program reads version 1");
}

void read_attributes(hid_t file, TraceInfo& info) {
  const std::string& path = info.path;
  info.model = h5::read_string(file, "model", path).value_or("");
  info.task = h5::read_string(file, "task", path).value_or("");
  info.num_query_heads = static_cast<int>(required_int(file, "num_query_heads", path, kMaxHeads));
  info.num_kv_heads = static_cast<int>(required_int(file, "num_kv_heads", path, kMaxHeads));
  info.head_dim = static_cast<int>(required_int(file, "head_dim", path, kMaxDim));
  info.value_dim = info.head_dim;
  if (const auto value_dim = h5::read_int(file, "value_dim", path))
    info.value_dim = static_cast<int>(checked_int(path, "value_dim", *value_dim, 1, kMaxDim));
  // Tokens are kept as 32-bit indices.
  info.num_tokens = required_int(file, "num_tokens", path, std::numeric_limits<int>::max());
  info.seed = h5::read_int(file, "seed", path).value_or(0);
  info.rope_applied = h5::read_int(file, "rope_applied", path).value_or(1) != 0;
  const auto scale = h5::read_real(file, "softmax_scale", path);
  if (!scale) fail_input(path, ": attribute softmax_scale is missing; usually 1/sqrt(head_dim)");
  if (!(*scale > 0) || !std::isfinite(*scale))
    fail_input(path, ": attribute softmax_scale is ", *scale, ", expected a positive number");
  if (*scale < kMinScale || *scale > kMaxScale)
    fail_input(path, ": attribute softmax_scale is ", *scale, ", expected ", kMinScale, " to ",
               kMaxScale, ", usually 1/sqrt(head_dim)");
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
  const std::string expected = "one dimension of int64, one entry a step";
  const h5::Handle dataset = h5::open_dataset(file, "positions", place, expected, [&](hid_t found) {
    const h5::Handle type(H5Dget_type(found), H5Tclose);
    const auto extent = h5::shape(found);
    if (H5Tget_class(type.get()) != H5T_INTEGER || extent.size() != 1)
      fail_input(place, ": expected ", expected);
    if (extent[0] > info.num_tokens)  // and no memory is asked for what a damaged header claims
      fail_input(place, " has ", extent[0], " entries, but there are only ", info.num_tokens,
                 " keys; positions are strictly increasing from 0 on");
    if (extent[0] > kMaxSteps)
      fail_input(place, " has ", extent[0], " entries, expected at most ", kMaxSteps,
                 "; record fewer decode steps");
    if (extent[0] == 0) fail_input(place, " is empty; a trace has at least one step");
    info.positions.resize(static_cast<std::size_t>(extent[0]));
  });
  h5::check_read(H5Dread(dataset.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                         info.positions.data()),
                 place, "the file is damaged, record it again");
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

// A layer whose attention is not plain softmax over all visible keys says so.
void note_other_attention(hid_t group, int layer, TraceInfo& info) {
  const std::string place = concat(info.path, ": group layers/", layer);
  const auto note = [&](const char* name, double value) {
    std::string& why = info.other_attention[layer];
    why += concat(why.empty() ? "" : " and ", name, " = ", value);
  };
  if (const auto cap = h5::read_real(group, "logit_softcap", place); cap && *cap != 0)
    note("logit_softcap", *cap);
  if (const auto window = h5::read_int(group, "sliding_window", place);
      window && *window != 0 && *window < info.num_tokens)  // a wider one hides nothing
    note("sliding_window", static_cast<double>(*window));
}

void read_layers(hid_t file, TraceInfo& info) {
  const h5::Handle layers = h5::open_group(file, "layers", info.path);
  H5G_info_t links = {};
  if (H5Gget_info(layers.get(), &links) >= 0 && links.nlinks > kMaxLayers)
    fail_input(info.path, ": group layers holds ", links.nlinks, " layers, expected at most ",
               kMaxLayers, "; record fewer");
  for (const std::string& name : h5::children(layers.get())) {
    int index = -1;
    const auto end = std::from_chars(name.data(), name.data() + name.size(), index);
    // "01" would be read, and then looked for as "1".
    if (end.ec != std::errc() || end.ptr != name.data() + name.size() || index < 0 ||
        name != std::to_string(index))
      fail_input(info.path, ": group layers/", name.substr(0, 80),
                 ": expected the layer's index as its name");
    info.layers.push_back(index);
    const h5::Handle group = h5::open_group(file, "layers/" + name, info.path);
    note_other_attention(group.get(), index, info);
  }
  std::sort(info.layers.begin(), info.layers.end());
  if (info.layers.empty())
    fail_input(info.path, ": group layers is empty; record at least one layer");
}

void check_datasets(hid_t file, TraceInfo& info) {
  for (int layer : info.layers)
    for (const LayerDataset& expected : layer_datasets(info)) {
      const std::string name = dataset_path(layer, expected.name);
      if (expected.optional && !h5::exists(file, name)) continue;
      const FloatDataset dataset(file, name, info.path, expected.shape);
      if (expected.shape[0] != kAnyExtent) continue;
      const std::int64_t positions = dataset.shape()[0];
      if (positions > info.positions[0])  // the prompt's, before the first step
        fail_input(info.path, ": dataset ", name, " has ", positions,
                   " positions, but the prompt has only ", info.positions[0],
                   " before the first step; leave out the queries of the steps");
      info.prefill_queries = std::max(info.prefill_queries, positions);
    }
}

}  // namespace

std::vector<LayerDataset> layer_datasets(const TraceInfo& info) {
  const std::int64_t kv = info.num_kv_heads, heads = info.num_query_heads;
  return {{"keys", {kv, info.num_tokens, info.head_dim}, false},
          {"values", {kv, info.num_tokens, info.value_dim}, false},
          {"queries", {info.num_steps(), heads, info.head_dim}, false},
          {"outputs", {info.num_steps(), heads, info.value_dim}, true},
          {"prefill_queries", {kAnyExtent, heads, info.head_dim}, true}};
}

std::string dataset_path(int layer, const char* name) {
  return concat("layers/", layer, "/", name);
}

TraceInfo read_trace_header(hid_t file, const std::string& path) {
  TraceInfo info;
  info.path = path;
  info.name = std::filesystem::path(path).stem().string();
  check_format(file, path);
  read_attributes(file, info);
  read_positions(file, info);
  read_layers(file, info);
  check_datasets(file, info);
  return info;
}

}  // namespace doublep
