#include "core/trace/hdf5/kv_header.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>

#include "core/base/error.h"
#include "core/trace/hdf5/float_dataset.h"

namespace doublep {
namespace {

constexpr std::int64_t kAnyVersion = std::numeric_limits<std::int64_t>::max();

std::int64_t required_int(hid_t file, const char* name, const std::string& path,
                          std::int64_t high) {
  const auto value = h5::read_int(file, name, path);
  if (!value) fail_input(path, ": attribute ", name, " is missing; a kv-trace has it at the root");
  return checked_count(concat(path, ": attribute ", name), *value, 1, high);
}

void check_format(hid_t file, const std::string& path) {
  const auto format = h5::read_string(file, "format", path);
  if (!format || *format != "kv-trace")
    fail_input(path, ": attribute format is ",
               format ? "'" + format->substr(0, 80) + "'" : std::string("missing"),
               ", expected 'kv-trace'; is this a trace?");
  if (const auto version = required_int(file, "version", path, kAnyVersion); version != 1)
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
    info.value_dim =
        static_cast<int>(checked_count(path + ": attribute value_dim", *value_dim, 1, kMaxDim));
  // Tokens are kept as 32-bit indices.
  info.num_tokens = required_int(file, "num_tokens", path, std::numeric_limits<int>::max());
  info.seed = h5::read_int(file, "seed", path).value_or(0);
  info.rope_applied = h5::read_int(file, "rope_applied", path).value_or(1) != 0;
  const auto scale = h5::read_real(file, "softmax_scale", path);
  if (!scale) fail_input(path, ": attribute softmax_scale is missing; usually 1/sqrt(head_dim)");
  check_scale(*scale, path + ": attribute softmax_scale");
  info.softmax_scale = *scale;
  check_rope(info.rope_applied, path + ": attribute rope_applied");
  check_groups(info);
}

void read_positions(hid_t file, TraceInfo& info) {
  const std::string place = info.path + ": dataset positions";
  const std::string expected = "one dimension of int64, one entry a step";
  const h5::Handle dataset = h5::open_dataset(file, "positions", place, expected, [&](hid_t found) {
    const h5::Handle type(H5Dget_type(found), H5Tclose);
    const auto extent = h5::shape(found);
    if (H5Tget_class(type.get()) != H5T_INTEGER || extent.size() != 1)
      fail_input(place, ": expected ", expected);
    check_num_positions(extent[0], info.num_tokens, place);
    info.positions.resize(static_cast<std::size_t>(extent[0]));
  });
  h5::check_read(H5Dread(dataset.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                         info.positions.data()),
                 place, "the file is damaged, record it again");
  check_positions(info, place);
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
    const std::string place = concat(info.path, ": group layers/", name);
    note_other_attention(
        index, h5::read_real(group.get(), "logit_softcap", place).value_or(0),
        static_cast<double>(h5::read_int(group.get(), "sliding_window", place).value_or(0)), info);
  }
  std::sort(info.layers.begin(), info.layers.end());
  if (info.layers.empty())
    fail_input(info.path, ": group layers is empty; record at least one layer");
}

void check_datasets(hid_t file, TraceInfo& info) {
  for (int layer : info.layers)
    for (const LayerTensor& expected : layer_tensors(info)) {
      const std::string name = dataset_path(layer, expected.name);
      if (expected.optional && !h5::exists(file, name)) continue;
      const FloatDataset dataset(file, name, info.path, expected.shape);
      if (expected.shape[0] != kAnyExtent) continue;
      note_prefill_queries(dataset.shape()[0], info.path + ": dataset " + name, info);
    }
}

}  // namespace

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
