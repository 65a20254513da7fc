// A kv-trace in HDF5, opened and checked: first what it says of itself, then its values.
#include <algorithm>
#include <filesystem>
#include <limits>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/hash.h"
#include "core/base/text.h"
#include "core/trace/hdf5/float_dataset.h"
#include "core/trace/hdf5/probe.h"
#include "core/trace/source.h"
#include "core/trace/trace.h"

namespace doublep {
namespace {

constexpr double kUnpackedPerSecond = 20e6;  // bytes, of a slow CPU under a sanitizer

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
    const auto number = parse_integer(name);
    // "01" would be read, and then looked for as "1".
    if (!number || *number < 0 || *number > std::numeric_limits<int>::max() ||
        name != std::to_string(*number))
      fail_input(info.path, ": group layers/", name.substr(0, 80),
                 ": expected the layer's index as its name");
    const int index = static_cast<int>(*number);
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

// "layers/2/keys"
std::string dataset_path(int layer, const char* name) {
  return concat("layers/", layer, "/", name);
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

// Attributes, positions and layers, and the shape, type and storage of every dataset, without
// touching values.
TraceInfo read_header(hid_t file, const std::string& path) {
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

enum class Values { kFiltered, kPlain };

// NaN, infinity and nonsense, in all datasets of one kind; returns the float32 bytes of the others.
double check_values(hid_t file, const TraceInfo& info, Values kind) {
  double others = 0;
  for (int layer : info.layers)
    for (const LayerTensor& expected : layer_tensors(info)) {
      const std::string name = dataset_path(layer, expected.name);
      if (expected.optional && !h5::exists(file, name)) continue;
      const FloatDataset dataset(file, name, info.path, expected.shape);
      if (dataset.filtered() == (kind == Values::kFiltered))
        dataset.check_values();
      else
        others += 4 * num_values(dataset.shape());
    }
  return others;
}

class KvTraceSource final : public TraceSource {
 public:
  KvTraceSource(const std::string& path, std::int64_t most_held) {
    h5::quiet();
    h5::probe(path, [&] { read_header(h5::open_file(path).get(), path); });
    if (FileStamp::of(path).size <= most_held) held_ = read_if_room(path, most_held);
    file_ = held_.empty() ? h5::open_file(path) : h5::open_image(path, held_);
    info_ = read_header(file_.get(), path);
    const double packed = check_values(file_.get(), info_, Values::kPlain);
    if (packed == 0) return;
    // What a chunk unpacks to is not bounded by what it says: in the child it is, by memory.
    h5::ProbeLimits limits;
    limits.cpu_seconds += packed / kUnpackedPerSecond;
    const auto check = [&] {
      const h5::Handle own = held_.empty() ? h5::open_file(path) : h5::Handle();
      check_values(own ? own.get() : file_.get(), info_, Values::kFiltered);
    };
    h5::probe(path, check, limits);
  }

  const TraceInfo& info() const override { return info_; }

  std::vector<std::string> files() const override { return {info_.path}; }

  std::vector<float> read(int layer, const LayerTensor& tensor, std::int64_t first,
                          std::int64_t count) const override {
    const std::string name = dataset_path(layer, tensor.name);
    if (tensor.optional && !h5::exists(file_.get(), name)) return {};
    return FloatDataset(file_.get(), name, info_.path, tensor.shape).read(first, count);
  }

  std::int64_t held_bytes() const override { return static_cast<std::int64_t>(held_.size()); }

  std::string hash(bool on_disk) const override {
    return on_disk || held_.empty() ? hash_file(info_.path) : Hasher().add(held_).hex();
  }

 private:
  TraceInfo info_;
  std::string held_;  // all bytes of file_, or none
  h5::Handle file_;
};

std::unique_ptr<TraceSource> open_either(const std::string& path, std::int64_t most_held) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return open_folder(path, most_held);
  return std::make_unique<KvTraceSource>(path, most_held);
}

}  // namespace

Trace Trace::open(const std::string& path, std::int64_t most_held) {
  return open_by(open_either, path, most_held);
}

}  // namespace doublep
