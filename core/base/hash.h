// Content hashes: a quick one for keys of results, which tells files and configurations apart and
// is not cryptographic, and SHA-256 (FIPS 180-4), the checksum of stored results, which other
// languages have in their standard library too.
#pragma once

#include <array>
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

/// Streaming: the digest does not depend on how the bytes were cut into calls.
class Sha256 {
 public:
  Sha256& add(const void* data, std::size_t bytes);
  Sha256& add(std::string_view text) { return add(text.data(), text.size()); }
  /// 64 lower-case hex digits of everything added so far.
  std::string hex() const;

 private:
  void compress(const unsigned char* block);

  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> block_ = {};  ///< what does not fill a block yet
  std::uint64_t length_ = 0;
};

/// SHA-256 of a file's bytes. Throws InputError where it cannot be read.
std::string sha256_of_file(const std::string& path);

}  // namespace doublep
