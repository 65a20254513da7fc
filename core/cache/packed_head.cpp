#include "core/cache/packed_head.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/e4m3.h"
#include "core/base/half.h"
#include "core/cost/stages.h"

namespace doublep {
namespace {

void store(std::span<const std::int32_t> tokens, int dim, std::vector<float>& rows) {
  float largest = 0;
  const auto each = [&](const auto& visit) {
    for (const std::int32_t token : tokens)
      for (std::int64_t i = token * static_cast<std::int64_t>(dim), end = i + dim; i < end; ++i)
        visit(rows[i]);
  };
  each([&](float& x) {
    x = bfloat16_to_float(float_to_bfloat16(x));
    largest = std::max(largest, std::fabs(x));
  });
  const E4m3Scale scale = E4m3Scale::of(largest);
  each([&](float& x) { x = scale.load(scale.store(x)); });
}

}  // namespace

void PackedHead::extend(const KvHead& head) {
  const auto have = static_cast<std::int64_t>(blocks_.size());
  head_dim_ = head.head_dim, value_dim_ = head.value_dim;
  keys_.insert(keys_.end(), head.key(have), head.key(head.length));
  values_.insert(values_.end(), head.value(have), head.value(head.length));
  blocks_.resize(head.length, -1);
}

void PackedHead::pack(std::span<const std::int32_t> tokens) {
  if (tokens.empty()) return;
  store(tokens, head_dim_, keys_);
  store(tokens, value_dim_, values_);
  for (const std::int32_t token : tokens) blocks_[token] = num_blocks_;
  ++num_blocks_;
}

void PackedHead::pack_in_order() {
  std::vector<std::int32_t> block(kPackedBlock);
  for (; in_order_ + kPackedBlock <= static_cast<std::int64_t>(blocks_.size());
       in_order_ += kPackedBlock) {
    std::iota(block.begin(), block.end(), static_cast<std::int32_t>(in_order_));
    pack(block);
  }
}

KvHead PackedHead::stored(const KvHead& head) const {
  KvHead same = head;
  same.keys = keys_.data(), same.values = values_.data();
  return same;
}

PackedHead::Read PackedHead::read(std::span<const std::int32_t> tokens) const {
  std::vector<std::int32_t> counts(num_blocks_);
  Read read;
  for (const std::int32_t token : tokens)
    if (blocks_[token] < 0)
      ++read.plain;
    else
      ++counts[blocks_[token]];
  for (const std::int32_t count : counts) read.pieces += (count + kPackedPiece - 1) / kPackedPiece;
  return read;
}

}  // namespace doublep
