#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/hash.h"
#include "core/trace/description.h"
#include "core/trace/raw_tensor.h"
#include "core/trace/source.h"

namespace doublep {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostFiles = 100000;  // of a folder; more are no trace's

// Relative to the folder, with slashes, in alphabetical order: those of one suffix.
std::vector<std::string> files_of(const std::string& folder, const std::string& suffix) {
  std::vector<std::string> names;
  std::error_code error;
  std::size_t seen = 0;
  const fs::path given = folder, base = given.has_filename() ? given : given.parent_path();
  for (auto it = fs::recursive_directory_iterator(base, error);
       !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    if (++seen > kMostFiles)
      fail_input(folder, ": holds more than ", kMostFiles,
                 " files; a trace's folder holds its tensors only");
    if (it->path().extension() == suffix)
      names.push_back(it->path().lexically_relative(base).generic_string());
  }
  if (error) fail_input(folder, ": cannot be listed: ", error.message(), "; check its permissions");
  std::sort(names.begin(), names.end());
  return names;
}

std::string name_of(const std::string& folder) {
  const fs::path path = fs::absolute(folder).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

class FolderSource final : public TraceSource {
 public:
  FolderSource(const std::string& folder, std::int64_t most_held)
      : folder_(folder), description_(read_description(folder)) {
    info_.path = folder, info_.name = name_of(folder);
    info_.model = description_.model, info_.task = description_.task;
    info_.seed = description_.seed, info_.softmax_scale = description_.softmax_scale;
    files_.push_back(kDescriptionName);
    held_[description_.path] = description_.text;
    description_.tensors.of_files() ? find_npy() : find_safetensors();
    choose_layers();
    read_counts();
    check_tensors();
    hold_files(most_held);
    for (const auto& [which, tensor] : tensors_) tensor.check_values();
  }

  const TraceInfo& info() const override { return info_; }

  std::vector<std::string> files() const override {
    std::vector<std::string> paths;
    for (const std::string& file : files_) paths.push_back(inside(file));
    return paths;
  }

  std::vector<float> read(int layer, const LayerTensor& tensor, std::int64_t first,
                          std::int64_t count) const override {
    const auto found = tensors_.find({layer, tensor.name});
    return found == tensors_.end() ? std::vector<float>{} : found->second.read(first, count);
  }

  std::int64_t held_bytes() const override {
    std::int64_t bytes = 0;
    if (held_.size() < files_.size()) return 0;
    for (const auto& [path, held] : held_) bytes += static_cast<std::int64_t>(held.size());
    return bytes;
  }

  std::string hash(bool on_disk) const override {
    Hasher hasher;
    for (const std::string& file : files_) {
      const auto held = on_disk ? held_.end() : held_.find(inside(file));
      hasher.add(file).add(held == held_.end() ? hash_file(inside(file))
                                               : Hasher().add(held->second).hex());
    }
    return hasher.hex();
  }

 private:
  std::string inside(const std::string& file) const { return (fs::path(folder_) / file).string(); }

  void add(const std::pair<int, std::string>& which, RawTensor tensor) {
    const auto [held, added] = tensors_.try_emplace(which, std::move(tensor));
    if (!added)
      fail_input(folder_, ": both ", held->second.place, " and ", tensor.place, " are the ",
                 which.second, " of layer ", which.first, "; remove one of them");
  }

  bool wanted(int layer) const {
    const std::vector<int>& chosen = description_.layers;
    return layer >= 0 &&
           (chosen.empty() || std::binary_search(chosen.begin(), chosen.end(), layer));
  }

  void find_npy() {
    for (const std::string& file : files_of(folder_, ".npy")) {
      const auto which = description_.tensors.match(file);
      if (!wanted(which.first)) continue;
      add(which, read_npy(inside(file)));
      files_.push_back(file);
    }
  }

  void find_safetensors() {
    for (const std::string& file : files_of(folder_, ".safetensors")) {
      bool used = false;
      for (auto& [name, tensor] : read_safetensors(inside(file))) {
        const auto which = description_.tensors.match(name);
        if (!wanted(which.first)) continue;
        add(which, std::move(tensor));
        used = true;
      }
      if (used) files_.push_back(file);
    }
  }

  void choose_layers() {
    info_.layers = description_.layers;
    if (info_.layers.empty())
      for (const auto& [which, tensor] : tensors_)
        if (info_.layers.empty() || info_.layers.back() != which.first)
          info_.layers.push_back(which.first);
    if (info_.layers.empty())
      fail_input(description_.path, ": tensors: no ",
                 description_.tensors.of_files() ? "file of the folder"
                                                 : "tensor of the folder's .safetensors files",
                 " is named ", description_.tensors.text(), "; mend the pattern, or names");
    if (static_cast<std::int64_t>(info_.layers.size()) > kMaxLayers)
      fail_input(folder_, ": holds ", info_.layers.size(), " layers, expected at most ", kMaxLayers,
                 "; choose some (layers: [...])");
  }

  RawTensor& required(int layer, const char* name) {
    const auto found = tensors_.find({layer, name});
    if (found == tensors_.end())
      fail_input(folder_, ": the ", name, " of layer ", layer, " are missing; expected a ",
                 description_.tensors.of_files() ? "file" : "tensor", " named as ",
                 description_.tensors.text(), " says");
    return found->second;
  }

  // Heads, tokens, steps and dimensions are what the first layer's shapes say.
  void read_counts() {
    for (auto& [which, tensor] : tensors_)  // a batch of one, as caches have it
      while (tensor.shape.size() > 3 && tensor.shape[0] == 1)
        tensor.shape.erase(tensor.shape.begin());
    const int first = info_.layers[0];
    const auto extent = [&](const char* name, std::size_t axis, const char* axes,
                            std::int64_t most) {
      const RawTensor& tensor = required(first, name);
      if (tensor.shape.size() != 3)
        fail_input(tensor.place, " has shape ", shape_text(tensor.shape), ", expected ", axes,
                   "; write it in that order");
      return checked_count(concat(tensor.place, ": extent ", axis, " of ", axes),
                           tensor.shape[axis], 1, most);
    };
    const char* keys = "[KV heads, tokens, head_dim]";
    const char* queries = "[steps, query heads, head_dim]";
    info_.num_kv_heads = static_cast<int>(extent("keys", 0, keys, kMaxHeads));
    info_.num_tokens = extent("keys", 1, keys, std::numeric_limits<int>::max());
    info_.head_dim = static_cast<int>(extent("keys", 2, keys, kMaxDim));
    info_.value_dim =
        static_cast<int>(extent("values", 2, "[KV heads, tokens, value_dim]", kMaxDim));
    info_.num_query_heads = static_cast<int>(extent("queries", 1, queries, kMaxHeads));
    check_groups(info_);
    read_positions(extent("queries", 0, queries, kMaxSteps));
    for (int layer : info_.layers)
      note_other_attention(layer, description_.logit_softcap.of(layer),
                           description_.sliding_window.of(layer), info_);
  }

  void read_positions(std::int64_t steps) {
    const std::string place = description_.path + ": positions";
    info_.positions = description_.positions;
    check_num_positions(steps, info_.num_tokens, required(info_.layers[0], "queries").place);
    if (info_.positions.empty())
      for (std::int64_t t = 0; t < steps; ++t)
        info_.positions.push_back(info_.num_tokens - steps + t);
    if (info_.num_steps() != steps)
      fail_input(place, " has ", info_.num_steps(), " entries, expected ", steps,
                 ", one for each step of the queries");
    check_positions(info_, place);
  }

  void check_tensors() {
    for (int layer : info_.layers)
      for (const LayerTensor& expected : layer_tensors(info_)) {
        if (expected.optional && !tensors_.count({layer, expected.name})) continue;
        const RawTensor& tensor = required(layer, expected.name);
        if (!tensor.type)
          fail_input(tensor.place, " is of type ", tensor.type_name,
                     ", expected float16 (<f2, F16), float32 (<f4, F32) or bfloat16 (BF16, in "
                     ".safetensors); convert it before you write it");
        if (!shape_fits(tensor.shape, expected.shape))
          fail_input(tensor.place, " has shape ", shape_text(tensor.shape), ", expected ",
                     shape_text(expected.shape), " by the keys, values and queries of layer ",
                     info_.layers[0], "; write it in that order");
        if (expected.shape[0] == kAnyExtent)
          note_prefill_queries(tensor.shape[0], tensor.place, info_);
      }
  }

  // All of them, or the description alone.
  void hold_files(std::int64_t most) {
    std::int64_t bytes = 0;
    for (const std::string& path : files()) bytes += FileStamp::of(path).size;
    if (bytes > most) return;
    std::map<std::string, std::string> read = held_;
    for (const std::string& path : files()) {
      std::string& held = read[path];
      if (held.empty()) held = read_if_room(path, most);
      if (held.empty()) return;
    }
    held_ = std::move(read);
    std::set<const std::string*> same;
    for (auto& [which, tensor] : tensors_) {
      tensor.held = held_.at(tensor.path);
      // Types, shapes and places are those of a reading before this one.
      const std::string& header = *tensor.header;
      if (same.insert(&header).second && tensor.held.compare(0, header.size(), header) != 0)
        fail_input(tensor.path, kChangedWhileRead);
    }
  }

  std::string folder_;
  FolderDescription description_;
  TraceInfo info_;
  std::vector<std::string> files_;  // relative to the folder, in the order that they are hashed in
  std::map<std::pair<int, std::string>, RawTensor> tensors_;  // by layer and tensor
  std::map<std::string, std::string> held_;  // bytes of the files, by path, or of trace.yaml alone
};

}  // namespace

std::unique_ptr<TraceSource> open_folder(const std::string& folder, std::int64_t most_held) {
  if (std::error_code error; !fs::is_directory(folder, error))
    fail_input(folder, ": is no folder; name one that holds tensors and a ", kDescriptionName);
  return std::make_unique<FolderSource>(folder, most_held);
}

std::vector<std::string> trace_files(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return {path};
  std::vector<std::string> files;
  if (const fs::path said = fs::path(path) / kDescriptionName; fs::exists(said, error))
    files.push_back(said.string());
  for (const char* suffix : {".npy", ".safetensors"})
    for (const std::string& file : files_of(path, suffix))
      files.push_back((fs::path(path) / file).string());
  return files;
}

}  // namespace doublep
