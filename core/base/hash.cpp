#include "core/base/hash.h"

#include <cstdio>
#include <cstring>

#include "core/base/file.h"
#include "core/base/random.h"

namespace doublep {

Hasher& Hasher::add(const void* data, std::size_t bytes) {
  const auto* p = static_cast<const unsigned char*>(data);
  length_ += bytes;
  while (bytes > 0) {
    std::uint64_t word = 0;
    const std::size_t n = bytes < 8 ? bytes : 8;
    std::memcpy(&word, p, n);
    state_ = (state_ ^ word) * 0x100000001b3ull;
    state_ ^= state_ >> 29;  // plain FNV over words never carries high bits down
    p += n, bytes -= n;
  }
  return *this;
}

std::uint64_t Hasher::value() const { return splitmix64(state_ ^ length_); }

std::string Hasher::hex() const {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value()));
  return text;
}

std::string hash_file(const std::string& path) {
  Hasher hasher;
  // A MiB is a multiple of 8, so that the cuts do not change the hash.
  visit_file(path, [&](std::string_view bytes) {
    hasher.add(bytes);
    return true;
  });
  return hasher.hex();
}

}  // namespace doublep
