// Content hashes for keys of results. Not cryptographic: they tell files and configurations apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace doublep {

/// Streaming 64-bit hash (FNV-1a over 8-byte words, finished by the splitmix64 mixer).
class Hasher {
 public:
  Hasher& add(const void* data, std::size_t bytes);
  Hasher& add(std::string_view text) { return add(text.data(), text.size()); }
  std::uint64_t value() const;
  /// 16 lower-case hex digits.
  std::string hex() const;

 private:
  std::uint64_t state_ = 0xcbf29ce484222325ull;
  std::uint64_t length_ = 0;
};

/// Hash of a file's bytes. Throws InputError where it cannot be read.
std::string hash_file(const std::string& path);

}  // namespace doublep
