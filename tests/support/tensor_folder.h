// A small sound trace as a folder of tensors, .npy or .safetensors, written byte by byte, and the
// ways to break it. Needs no HDF5.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "core/base/half.h"
#include "core/trace/tensor.h"
#include "tests/support/random_cache.h"
#include "tests/support/temp_dir.h"

namespace doublep::test {

/// A tensor as a header tells of it.
struct Tensor {
  std::vector<std::int64_t> shape;
  std::string type;  ///< "F32", "F16", "BF16"
  std::string bytes;
};

inline Tensor tensor(const std::vector<std::int64_t>& shape, const std::vector<float>& values,
                     const std::string& type = "F32") {
  Tensor t{shape, type, ""};
  for (const float value : values) {
    const std::uint32_t bits = type == "F32"   ? float_to_bits(value)
                               : type == "F16" ? float_to_half(value)
                                               : float_to_bfloat16(value);
    t.bytes.append(reinterpret_cast<const char*>(&bits), type == "F32" ? 4 : 2);
  }
  return t;
}

inline std::string npy(const std::string& header, const std::string& data, int version = 1) {
  std::string text = std::string("\x93NUMPY") + static_cast<char>(version) + '\0';
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i)
    text += static_cast<char>(header.size() >> 8 * i & 255);
  return text + header + data;
}

inline std::string npy_header(const std::string& descr, const std::vector<std::int64_t>& shape,
                              const char* fortran = "False") {
  std::string extents;
  for (std::int64_t n : shape) extents += std::to_string(n) + ", ";
  return "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': (" + extents +
         "), }      \n";
}

inline std::string npy(const Tensor& t) {
  return npy(npy_header(t.type == "F16" ? "<f2" : "<f4", t.shape), t.bytes);
}

inline std::string safetensors(const std::string& header, const std::string& data) {
  std::string text;
  for (int i = 0; i < 8; ++i)
    text += static_cast<char>(static_cast<std::uint64_t>(header.size()) >> 8 * i & 255);
  return text + header + data;
}

inline std::string safetensors(const std::map<std::string, Tensor>& tensors) {
  std::string header = "{\"__metadata__\":{\"format\":\"pt\"}", data;
  for (const auto& [name, t] : tensors) {
    std::string extents;
    for (std::int64_t n : t.shape) extents += (extents.empty() ? "" : ",") + std::to_string(n);
    header += ",\"" + name + "\":{\"dtype\":\"" + t.type + "\",\"shape\":[" + extents +
              "],\"data_offsets\":[" + std::to_string(data.size()) + "," +
              std::to_string(data.size() + t.bytes.size()) + "]}";
    data += t.bytes;
  }
  return safetensors(header + "}", data);
}

/// 2 KV heads, 4 query heads of 8, 20 tokens, 3 steps, layers 1 and 10: as TraceFile.
class TensorFolder {
 public:
  enum Kind { kNpy, kSafetensors };

  explicit TensorFolder(Kind kind, const std::string& type = "F32") : kind_(kind) {
    std::filesystem::create_directory(path());
    const RandomCache data({2, 2, 20, 8, 3});
    for (const char* layer : {"1", "10"}) {
      tensors_[name(layer, "keys")] = tensor({2, 20, 8}, data.keys, type);
      tensors_[name(layer, "values")] = tensor({2, 20, 8}, data.values, type);
      tensors_[name(layer, "queries")] = tensor({3, 4, 8}, data.queries, type);
    }
    describe();
    write();
  }

  std::string path() const { return dir_.file("toy"); }
  std::string file(const std::string& name) const { return path() + "/" + name; }
  /// "layer1.keys.npy", or "layers.1.keys" of all.safetensors.
  std::string name(const std::string& layer, const std::string& tensor) const {
    return kind_ == kNpy ? "layer" + layer + "." + tensor + ".npy"
                         : "layers." + layer + "." + tensor;
  }
  Tensor& operator[](const std::string& name) { return tensors_[name]; }
  std::map<std::string, Tensor>& tensors() { return tensors_; }

  void spill(const std::string& name, const std::string& text) const {
    std::ofstream(file(name), std::ios::binary) << text;
  }
  /// trace.yaml; `more` are lines that stand below the required ones.
  void describe(const std::string& more = "positions: [16, 17, 19]\n",
                const std::string& scale = "0.25") const {
    spill("trace.yaml", "model: toy\ntask: synthetic\nseed: 5\nsoftmax_scale: " + scale +
                            "\ntensors: '" + name("{layer}", "{tensor}") + "'\n" + more);
  }
  /// All tensors as they are now.
  void write() const {
    if (kind_ == kSafetensors) return spill("all.safetensors", safetensors(tensors_));
    for (const auto& [name, t] : tensors_) spill(name, npy(t));
  }

 private:
  TempDir dir_;
  Kind kind_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace doublep::test
