#include "sim/cost/gemm.h"

#include "core/base/error.h"

namespace doublep::sim {

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
