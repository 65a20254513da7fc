// What the backend supports, in one place, so that a refusal can say all of it.
#include <algorithm>
#include <array>
#include <string_view>

#include "core/base/error.h"
#include "cuda/common/check.h"
#include "cuda/common/types.h"
#include "cuda/decoder/factory.h"

namespace doublep::cuda {
namespace {

constexpr std::array<std::string_view, 8> kPolicies = {
    "dense",    "streaming", "cluster_top_k", "cluster_top_p",
    "double_p", "quest",     "twilight",      "retroinfer"};
constexpr std::array kHeadDims = {64, 80, 128, 256};

template <class List>
std::string text_of(const List& list) {
  std::string text;
  for (const auto& item : list) text += concat(text.empty() ? "" : "|", item);
  return text;
}

}  // namespace

std::string device_problem() {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status != cudaSuccess) {
    cudaGetLastError();  // not sticky for the calls to come
    return concat("no CUDA device: ", cudaGetErrorString(status));
  }
  if (devices == 0) return "no CUDA device: the driver lists none";
  int major = 0;
  DP_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
  if (major < 8)
    return concat("no CUDA device of compute capability 8.0 or later (it is ", major, ".x)");
  return "";
}

std::string device_description() {
  cudaDeviceProp properties{};
  int driver = 0, runtime = 0, device = 0;
  DP_CUDA(cudaGetDevice(&device));
  DP_CUDA(cudaGetDeviceProperties(&properties, device));
  DP_CUDA(cudaDriverGetVersion(&driver));
  DP_CUDA(cudaRuntimeGetVersion(&runtime));
  return concat(properties.name, ", sm_", properties.major, properties.minor, ", ",
                properties.multiProcessorCount, " SMs, ", properties.totalGlobalMem >> 20,
                " MiB, L2 ", properties.l2CacheSize >> 20, " MiB, driver CUDA ", driver / 1000, ".",
                driver % 1000 / 10, ", runtime CUDA ", runtime / 1000, ".", runtime % 1000 / 10);
}

std::string refusal(const std::string& policy, const Parameters& parameters,
                    const Request& request) {
  const int group = request.num_kv_heads > 0 ? request.num_query_heads / request.num_kv_heads : 0;
  std::string missing;
  const auto require = [&](bool met, const std::string& what) {
    if (!met) missing += (missing.empty() ? "" : ", ") + what;
  };
  require(std::find(kPolicies.begin(), kPolicies.end(), policy) != kPolicies.end(),
          "policy " + policy);
  require(std::find(kHeadDims.begin(), kHeadDims.end(), request.head_dim) != kHeadDims.end(),
          concat("head_dim ", request.head_dim));
  require(group >= 1 && group <= kMaxGroup, concat("group size ", group));
  require(request.dtype != KvDtype::kFp8, "kv_dtype fp8");
  // Parameters that only the reference serves, with the value that asks for nothing.
  const auto plain = [&](const char* name, const ParamValue& value) {
    const auto it = parameters.values().find(name);
    require(it == parameters.values().end() || it->second == value,
            concat(name, " other than ", to_text(value)));
  };
  plain("kmeans_init", std::string("evenly_spaced"));
  plain("kmeans_seed", std::int64_t{0});
  // A map belongs to one clustering; RetroInfer's grows by parts.
  if (policy != "double_p") plain("value_side", std::string("mean"));
  plain("audit", std::int64_t{0});
  plain("guarantee", 0.0);
  plain("base", std::string("quest"));  // of twilight: what proposes, and its keys
  plain("bits", std::int64_t{4});
  if (const auto it = parameters.values().find("estimator"); it != parameters.values().end())
    require(it->second != ParamValue(std::string("diagonal")), "estimator diagonal");
  if (missing.empty()) return "";
  return concat("backend cuda cannot serve this: required policy ", policy, ", head_dim ",
                request.head_dim, ", group size ", group, ", kv_dtype ", name_of(request.dtype),
                "; supported policy ", text_of(kPolicies), ", head_dim ", text_of(kHeadDims),
                ", group size 1 to ", kMaxGroup, ", kv_dtype fp32|fp16|bf16; missing ", missing,
                ". Use backend: cpu");
}

}  // namespace doublep::cuda
