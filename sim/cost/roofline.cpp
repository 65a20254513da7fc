#include "sim/cost/roofline.h"

#include <algorithm>
#include <array>

#include "core/base/error.h"

namespace doublep::sim {

std::string_view name_of(Bound bound) {
  constexpr std::array<std::string_view, kNumBounds> kNames = {
      "memory", "compute", "imbalance", "launch", "host link", "interconnect"};
  return kNames[static_cast<int>(bound)];
}

std::string_view name_of(Access access) {
  constexpr std::array<std::string_view, kNumAccesses> kNames = {"dense", "sparse", "summary",
                                                                 "gemm"};
  return kNames[static_cast<int>(access)];
}

std::string_view name_of(Search search) {
  constexpr std::array<std::string_view, kNumSearches> kNames = {"heads", "pages", "group",
                                                                 "tokens", "zone"};
  return kNames[static_cast<int>(search)];
}

double Machine::latency(Access access) const {
  const double fitted = efficiency[access].latency;
  return fitted < 0 ? hardware.launch_overhead.value : fitted;
}

double Machine::small_kernel_latency() const {
  return efficiency.small_latency < 0 ? hardware.launch_overhead.value : efficiency.small_latency;
}

Timing kernel_time(const Machine& machine, Access access, double bytes, double flops,
                   const std::string& dtype, double slowest_share, int launches) {
  const KernelFit& fit = machine.efficiency[access];
  Timing t;
  t.overhead = launches * machine.latency(access);
  t.memory = bytes / (fit.share * machine.hardware.bandwidth());
  t.compute = flops > 0 ? flops / (fit.compute_share * machine.hardware.flops(dtype)) : 0;
  t.imbalance = std::max(t.memory, t.compute) * std::max(1.0, slowest_share);
  const double work = std::max({t.memory, t.compute, t.imbalance});
  t.seconds = t.overhead + work;
  // The excess over an even split is what balance would save; name it where it is the largest part.
  const double even = std::max(t.memory, t.compute), excess = t.imbalance - even;
  if (t.overhead >= even && t.overhead >= excess)
    t.bound = Bound::kLaunch;
  else if (excess > even)
    t.bound = Bound::kImbalance;
  else
    t.bound = t.compute > t.memory ? Bound::kCompute : Bound::kMemory;
  return t;
}

Timing gemm_time(const Machine& machine, const Gemm& gemm, std::int64_t rows, KvDtype dtype) {
  const double n = static_cast<double>(gemm.n), k = static_cast<double>(gemm.k),
               m = static_cast<double>(rows);
  return kernel_time(machine, Access::kGemm, (n * k + m * (n + k)) * bytes_of(dtype), 2 * m * n * k,
                     std::string(name_of(dtype)));
}

Timing all_reduce_time(const Hardware& hardware, double bytes, int degree) {
  Timing t;
  if (degree <= 1) return t;
  if (hardware.interconnect_bandwidth.value <= 0)
    fail_input("hardware ", hardware.name,
               ": tensor parallelism needs an interconnect; give interconnect_bandwidth");
  t.overhead = hardware.interconnect_latency.value;
  t.memory = 2.0 * (degree - 1) / degree * bytes / hardware.interconnect_bandwidth.value;
  t.seconds = t.overhead + t.memory;
  t.bound = Bound::kInterconnect;
  return t;
}

}  // namespace doublep::sim
