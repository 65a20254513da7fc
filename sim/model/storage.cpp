#include "sim/model/storage.h"

#include <array>
#include <cmath>

#include "core/base/error.h"

namespace doublep::sim {
namespace {
struct Entry {
  Format format;
  std::string_view name;
  double bytes;
};
constexpr std::array<Entry, 6> kFormats = {{{Format::kFp32, "fp32", 4},
                                            {Format::kFp16, "fp16", 2},
                                            {Format::kBf16, "bf16", 2},
                                            {Format::kFp8, "fp8", 1},
                                            {Format::kInt8, "int8", 1},
                                            {Format::kInt4, "int4", 0.5}}};
const Entry& entry_of(Format format) { return kFormats[static_cast<std::size_t>(format)]; }
}  // namespace

Format parse_format(std::string_view name) {
  for (const Entry& entry : kFormats)
    if (entry.name == name) return entry.format;
  fail_input("expected fp32, fp16, bf16, fp8, int8 or int4, not '", name, "'");
}
std::string_view name_of(Format format) { return entry_of(format).name; }

double Storage::element_bytes() const { return entry_of(format).bytes; }

double Storage::row_bytes(double elements) const {
  return elements * element_bytes() + (integer() ? std::ceil(elements / group) * kGroupBytes : 0);
}

}  // namespace doublep::sim
