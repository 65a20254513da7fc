#include "core/base/hash.h"

#include <algorithm>
#include <bit>
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

namespace {

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
constexpr std::uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::uint32_t big_endian(const unsigned char* p) {
  return static_cast<std::uint32_t>(p[0]) << 24 | static_cast<std::uint32_t>(p[1]) << 16 |
         static_cast<std::uint32_t>(p[2]) << 8 | p[3];
}

}  // namespace

void Sha256::compress(const unsigned char* block) {
  std::uint32_t w[64];
  for (int i = 0; i < 16; ++i) w[i] = big_endian(block + 4 * i);
  for (int i = 16; i < 64; ++i) {
    const std::uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + w[i - 7] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ (a >> 3)) +
           (std::rotr(b, 17) ^ std::rotr(b, 19) ^ (b >> 10));
  }
  auto [a, b, c, d, e, f, g, h] = state_;
  for (int i = 0; i < 64; ++i) {
    const std::uint32_t t1 = h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) +
                             ((e & f) ^ (~e & g)) + kRound[i] + w[i];
    const std::uint32_t t2 =
        (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  const std::uint32_t mixed[8] = {a, b, c, d, e, f, g, h};
  for (int i = 0; i < 8; ++i) state_[i] += mixed[i];
}

Sha256& Sha256::add(const void* data, std::size_t bytes) {
  const auto* p = static_cast<const unsigned char*>(data);
  while (bytes > 0) {
    const std::size_t used = length_ % block_.size();
    const std::size_t n = std::min(bytes, block_.size() - used);
    if (n == block_.size()) {
      compress(p);
    } else {
      std::memcpy(block_.data() + used, p, n);
      if (used + n == block_.size()) compress(block_.data());
    }
    p += n, bytes -= n, length_ += n;
  }
  return *this;
}

std::string Sha256::hex() const {
  Sha256 padded = *this;
  const std::uint64_t bits = length_ * 8;
  const std::size_t used = length_ % block_.size();
  std::vector<unsigned char> tail((used < 56 ? 64 : 128) - used, 0);
  tail[0] = 0x80;
  for (int i = 0; i < 8; ++i)
    tail[tail.size() - 1 - i] = static_cast<unsigned char>(bits >> (8 * i));
  padded.add(tail.data(), tail.size());
  std::string text;
  for (const std::uint32_t word : padded.state_)
    for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[word >> shift & 15];
  return text;
}

std::string sha256_of_file(const std::string& path) {
  Sha256 hasher;
  visit_file(path, [&](std::string_view bytes) {
    hasher.add(bytes);
    return true;
  });
  return hasher.hex();
}

}  // namespace doublep
