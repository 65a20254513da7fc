// trace.yaml: what a folder of tensors cannot say by its shapes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace doublep {

/// Names of tensors, with a {layer} and a {tensor} in them: "layer{layer}.{tensor}.npy".
class NamePattern {
 public:
  /// `names`: what {tensor} stands for, by the names of layer_tensors(). Throws InputError, with
  /// `place` before the message, where the pattern has not exactly one of both.
  NamePattern(const std::string& pattern, const std::map<std::string, std::string>& names,
              const std::string& place);
  /// Layer and tensor that a name stands for; -1 where for none. "07" is layer 7.
  std::pair<int, std::string> match(const std::string& name) const;
  /// File names, rather than names within .safetensors files.
  bool of_files() const { return of_files_; }
  const std::string& text() const { return text_; }

 private:
  struct Frame {
    std::string before, after, tensor;  // what stands around the layer's digits
  };
  std::string text_;
  std::vector<Frame> frames_;
  bool of_files_;
};

/// A number for all layers, or one for each that is named; 0 for the others.
struct PerLayer {
  double all = 0;
  std::map<int, double> some;
  double of(int layer) const {
    const auto it = some.find(layer);
    return it == some.end() ? all : it->second;
  }
};

struct FolderDescription {
  std::string path, text;  ///< of trace.yaml, and the bytes that all of this was read from
  std::string model, task;
  std::int64_t seed = 0;
  double softmax_scale = 0;
  NamePattern tensors;
  std::vector<int> layers = {};              ///< empty: those that are found
  std::vector<std::int64_t> positions = {};  ///< empty: of the last tokens, one a step
  PerLayer logit_softcap = {}, sliding_window = {};
};

inline constexpr const char* kDescriptionName = "trace.yaml";

/// Of the folder's trace.yaml; data/TRACE_FORMAT.md has its keys. Throws InputError.
FolderDescription read_description(const std::string& folder);

}  // namespace doublep
