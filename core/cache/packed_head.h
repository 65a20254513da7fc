// One KV head's cache as `kv_dtype: fp8` stores it: blocks of tokens whose keys and values are
// E4M3, with a scale for the keys and one for the values of each block. Blocks are the clusters of
// a policy that attends clusters as a whole, else 64 neighbouring tokens. What is in no block stays
// as it was, in 16 bits: sinks, the window, and tokens that were generated since; they join when
// the clusters are made anew, or when 64 of them are there. Indexes are made of the numbers before
// they were stored.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/cache/kv_cache.h"

namespace doublep {

/// Tokens of a block where no clusters are.
inline constexpr std::int64_t kPackedBlock = 64;

class PackedHead {
 public:
  /// Takes the rows of `head` from those that it has on. They must not have changed.
  void extend(const KvHead& head);
  /// Nothing is in a block any more: the clusters are others.
  void unpack() { keys_.clear(), values_.clear(), blocks_.clear(), num_blocks_ = in_order_ = 0; }
  /// Stores these tokens as one block. Rounded to bfloat16 first, which caches are kept in before.
  void pack(std::span<const std::int32_t> tokens);
  /// As pack(), every kPackedBlock neighbouring tokens, as far as such a block is full.
  void pack_in_order();

  /// The same head with the numbers that stored ones stand for. Until the next call of another.
  KvHead stored(const KvHead& head) const;

  /// What reading `tokens` (ascending) takes: those in no block, and how many pieces of
  /// kPackedPiece tokens those of every block make, each of which begins with the block's scales.
  struct Read {
    std::int64_t plain = 0, pieces = 0;
  };
  Read read(std::span<const std::int32_t> tokens) const;

 private:
  int head_dim_ = 0, value_dim_ = 0;
  std::vector<float> keys_, values_;  // [tokens, head_dim], [tokens, value_dim]
  std::vector<std::int32_t> blocks_;  // of every token; -1: none
  std::int32_t num_blocks_ = 0;
  std::int64_t in_order_ = 0;  // tokens that pack_in_order() has been through
};

}  // namespace doublep
