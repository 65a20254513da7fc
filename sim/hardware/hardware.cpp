#include "sim/hardware/hardware.h"

#include <array>

#include "core/base/error.h"

namespace doublep::sim {

double Hardware::bandwidth() const {
  return achieved_bandwidth ? achieved_bandwidth->value : memory_bandwidth.value * kUnmeasuredShare;
}

double Hardware::flops(const std::string& dtype) const {
  // fp8 without fp8 units is widened to 16 bits; the two 16-bit formats run alike everywhere here.
  const std::map<std::string, std::array<const char*, 4>> wider = {
      {"fp8", {"fp8", "bf16", "fp16", "fp32"}},
      {"bf16", {"bf16", "fp16", "fp32", nullptr}},
      {"fp16", {"fp16", "bf16", "fp32", nullptr}},
      {"fp32", {"fp32", nullptr, nullptr, nullptr}}};
  const auto order = wider.find(dtype);
  if (order == wider.end())
    fail_input("dtype: expected fp32, fp16, bf16 or fp8, not '", dtype, "'");
  for (const char* type : order->second)
    if (type)
      if (const auto found = compute.find(type); found != compute.end()) return found->second.value;
  fail_input("hardware ", name, ": compute: no rate for ", dtype, " or a wider type; add one");
}

Hardware scaled(Hardware hardware, const Scale& scale) {
  hardware.memory_bandwidth.value *= scale.memory_bandwidth;
  if (hardware.achieved_bandwidth) hardware.achieved_bandwidth->value *= scale.memory_bandwidth;
  for (auto& [type, rate] : hardware.compute) rate.value *= scale.compute;
  hardware.host_link_bandwidth.value *= scale.host_link;
  hardware.interconnect_bandwidth.value *= scale.interconnect;
  hardware.memory_capacity.value *= scale.memory_capacity;
  hardware.launch_overhead.value *= scale.launch_overhead;
  return hardware;
}

}  // namespace doublep::sim
