#include "core/trace/raw_tensor.h"

#include <algorithm>
#include <cstring>
#include <fstream>

#include "core/base/error.h"

namespace doublep {
namespace {

constexpr std::int64_t kBlock = 4 << 20;  // values in memory at a time, beside what is kept

// Visits the values [first, end) in blocks of at most kBlock: visit(offset, size, read), where
// read(out) fills float32.
template <class Visit>
void visit_blocks(const RawTensor& tensor, std::int64_t first, std::int64_t end,
                  const Visit& visit) {
  std::ifstream in;
  const int width = *tensor.type == StoredType::kFloat32 ? 4 : 2;
  if (tensor.held.empty())
    in.open(tensor.path, std::ios::binary), in.seekg(tensor.begin + first * width);
  const auto fetch = [&](std::int64_t at, std::int64_t size, void* target) {
    if (tensor.held.empty()) return !!in.read(static_cast<char*>(target), size * width);
    const std::int64_t from = tensor.begin + at * width;
    if (from + size * width > static_cast<std::int64_t>(tensor.held.size())) return false;
    std::memcpy(target, tensor.held.data() + from, static_cast<std::size_t>(size * width));
    return true;
  };
  std::vector<std::uint16_t> bits;
  for (std::int64_t at = first; at < end; at += kBlock) {
    const std::int64_t size = std::min(kBlock, end - at);
    visit(at, size, [&](float* out) {
      if (width == 2) bits.resize(static_cast<std::size_t>(size));
      if (!fetch(at, size, width == 4 ? static_cast<void*>(out) : bits.data()))
        fail_input(tensor.path, ": cannot be read to its end; it was cut, write it again");
      if (width == 2) widen(*tensor.type, bits, out);
    });
  }
}

}  // namespace

std::vector<float> RawTensor::read(std::int64_t first, std::int64_t count) const {
  const std::int64_t outer = shape.empty() ? 1 : shape[0];  // a scalar is one slice
  const std::int64_t slices = count > 0 ? count : outer;
  DP_EXPECTS(first >= 0 && first + slices <= outer, "a part of the first dimension");
  const auto slice =
      outer > 0 ? static_cast<std::int64_t>(num_values(shape)) / outer : std::int64_t{0};
  std::vector<float> values(static_cast<std::size_t>(slices * slice));
  visit_blocks(*this, first * slice, (first + slices) * slice,
               [&](std::int64_t at, std::int64_t, const auto& read) {
                 read(values.data() + at - first * slice);
               });
  return values;
}

void RawTensor::check_values() const {
  std::vector<float> block;
  const auto total = static_cast<std::int64_t>(num_values(shape));
  visit_blocks(*this, 0, total, [&](std::int64_t at, std::int64_t size, const auto& read) {
    block.resize(static_cast<std::size_t>(size));
    read(block.data());
    doublep::check_values(block.data(), size, at, shape, place);
  });
}

}  // namespace doublep
