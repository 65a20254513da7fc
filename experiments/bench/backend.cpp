// The CUDA backend as the runner sees it.
#include "experiments/run/backend.h"

#include "cuda/decoder/factory.h"

namespace doublep {
namespace {

// The shape is not known yet; a decoder refuses the rest when it sees one.
std::string refusal(const PolicyInfo& policy, const Parameters& parameters) {
  if (std::string problem = cuda::device_problem(); !problem.empty()) return problem;
  return cuda::refusal(policy.name, parameters, {1, 1, 128, KvDtype::kBf16});
}

std::unique_ptr<Decoder> make(const PolicyInfo& policy, const Parameters& parameters,
                              const PolicyContext& context) {
  return cuda::make_decoder(policy, parameters, context);
}

}  // namespace

const Backend* cuda_backend() {
  static const Backend backend{"cuda", refusal, make};
  return &backend;
}

}  // namespace doublep
