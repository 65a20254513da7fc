#include "core/base/hash.h"

#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "core/base/error.h"
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
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                       &std::fclose);
  if (!file) fail_input(path, ": cannot be opened for reading; check the path and its permissions");
  std::vector<char> buffer(1 << 20);  // a multiple of 8, so that chunks do not change the hash
  Hasher hasher;
  while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), file.get()))
    hasher.add(buffer.data(), n);
  if (std::ferror(file.get())) fail_input(path, ": reading failed; is it a regular file?");
  return hasher.hex();
}

}  // namespace doublep
