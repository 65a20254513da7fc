// A tensor that lies in a file as plain bytes, row-major and little-endian, where a header says:
// that of a .npy or of a .safetensors file. A header is not believed: what it claims is held
// against the file's length before anything is read by it, in whole: neither a byte too few nor one
// too many.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/trace/tensor.h"

namespace doublep {

struct RawTensor {
  std::string path;                ///< the file's
  std::string place;               ///< "file" or "file: tensor NAME", for messages
  std::string type_name;           ///< as the header has it: "<f2", "BF16"
  std::optional<StoredType> type;  ///< none: a type that traces do not have
  std::vector<std::int64_t> shape;
  std::int64_t begin = 0;                     ///< of its bytes in the file
  std::shared_ptr<const std::string> header;  ///< what the file begins with, as it was read
  std::string_view held;                      ///< the file's bytes, where it is in memory, or empty

  /// Entries [first, first + count) of its first dimension as float32, or all where count is 0.
  /// Throws InputError where the file has become shorter.
  std::vector<float> read(std::int64_t first = 0, std::int64_t count = 0) const;
  /// See doublep::check_values; reads 16 MiB at a time.
  void check_values() const;
};

/// The tensor of a .npy file of version 1 or 2, in C order. Throws InputError where it is anything
/// else, or its length is not what the header says.
RawTensor read_npy(const std::string& path);

/// Every tensor of a .safetensors file, by name. Throws InputError where the header is damaged, or
/// the tensors do not fill the rest of the file, one after the other.
std::map<std::string, RawTensor> read_safetensors(const std::string& path);

}  // namespace doublep
