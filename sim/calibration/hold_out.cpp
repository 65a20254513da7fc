#include "sim/calibration/hold_out.h"

#include "core/base/random.h"

namespace doublep::sim {

bool is_held_out(std::string_view label, std::int64_t context, int batch, const HoldOut& rule) {
  if (rule.every <= 1) return false;
  // One character at a time: the same number whatever the machine's byte order.
  std::uint64_t hash = label.size();
  for (const char c : label) hash = splitmix64(hash ^ static_cast<unsigned char>(c));
  hash = splitmix64(hash ^ static_cast<std::uint64_t>(context));
  hash = splitmix64(hash ^ static_cast<std::uint64_t>(batch));
  return hash % static_cast<std::uint64_t>(rule.every) == 0;
}

}  // namespace doublep::sim
