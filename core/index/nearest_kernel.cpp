#include "core/index/nearest_kernel.h"

#include <cstdlib>

#include "core/base/error.h"

namespace doublep {

NearestKernel nearest_kernel_base();
#ifdef DOUBLEP_HAVE_AVX512_KERNELS
NearestKernel nearest_kernel_avx512();
#endif

const std::vector<NearestKernel>& nearest_kernels() {
  static const auto all = [] {
    std::vector<NearestKernel> kernels = {nearest_kernel_base()};
#ifdef DOUBLEP_HAVE_AVX512_KERNELS
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
      kernels.push_back(nearest_kernel_avx512());
#endif
    return kernels;
  }();
  return all;
}

const NearestKernel& nearest_kernel() {
  const char* wanted = std::getenv("DOUBLEP_SIMD");
  if (!wanted || !*wanted) return nearest_kernels().back();
  std::string known;
  for (const NearestKernel& kernel : nearest_kernels()) {
    if (kernel.level == std::string(wanted)) return kernel;
    known += concat(known.empty() ? "" : ", ", kernel.level);
  }
  fail_input("environment variable DOUBLEP_SIMD: '", wanted, "' is not to be had here; expected ",
             known, ", or nothing for the widest");
}

}  // namespace doublep
