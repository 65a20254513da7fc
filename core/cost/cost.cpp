#include "core/cost/cost.h"

#include "core/base/error.h"

namespace doublep {
namespace {
struct Entry {
  KvDtype dtype;
  std::string_view name;
  int bytes;
};
constexpr std::array<Entry, 4> kDtypes = {{{KvDtype::kFp32, "fp32", 4},
                                           {KvDtype::kFp16, "fp16", 2},
                                           {KvDtype::kBf16, "bf16", 2},
                                           {KvDtype::kFp8, "fp8", 1}}};
}  // namespace

KvDtype parse_kv_dtype(std::string_view name) {
  for (const Entry& entry : kDtypes)
    if (entry.name == name) return entry.dtype;
  fail_input("kv_dtype: expected fp32, fp16, bf16 or fp8, not '", name, "'");
}
std::string_view name_of(KvDtype dtype) { return kDtypes[static_cast<int>(dtype)].name; }
int bytes_of(KvDtype dtype) { return kDtypes[static_cast<int>(dtype)].bytes; }

}  // namespace doublep
