// A kv-trace in HDF5, opened and checked.
#include <filesystem>

#include "core/base/file.h"
#include "core/base/hash.h"
#include "core/trace/folder_source.h"
#include "core/trace/hdf5/float_dataset.h"
#include "core/trace/hdf5/kv_header.h"
#include "core/trace/hdf5/probe.h"
#include "core/trace/trace.h"

namespace doublep {
namespace {

constexpr double kUnpackedPerSecond = 20e6;  // bytes, of a slow CPU under a sanitizer

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
    h5::probe(path, [&] { read_trace_header(h5::open_file(path).get(), path); });
    if (FileStamp::of(path).size <= most_held) held_ = read_if_room(path, most_held);
    file_ = held_.empty() ? h5::open_file(path) : h5::open_image(path, held_);
    info_ = read_trace_header(file_.get(), path);
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

  std::vector<float> read(int layer, const LayerTensor& tensor) const override {
    const std::string name = dataset_path(layer, tensor.name);
    if (tensor.optional && !h5::exists(file_.get(), name)) return {};
    return FloatDataset(file_.get(), name, info_.path, tensor.shape).read();
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
