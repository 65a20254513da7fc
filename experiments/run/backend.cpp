#include "experiments/run/backend.h"

#include "core/base/error.h"
#include "core/decoder/reference_decoder.h"
#include "experiments/run/runner.h"

namespace doublep {

#ifndef DOUBLEP_WITH_CUDA
const Backend* cuda_backend() { return nullptr; }
#endif

DecoderFactory decoder_factory(const Sweep& sweep, const RunSpec& run) {
  const PolicyInfo& info = PolicyRegistry::instance().find(run.policy);
  PolicyContext context;
  context.seed = run.seed, context.kv_dtype = sweep.kv_dtype;
  const Backend* backend = nullptr;
  if (run.backend != "cpu") {
    backend = cuda_backend();
    std::string refusal = backend
                              ? backend->refusal(info, run.parameters)
                              : "this program was built without CUDA; build it where nvcc is found";
    for (const auto& [layer, parameters] : run.by_layer)
      if (refusal.empty()) refusal = backend->refusal(info, parameters);
    if (!refusal.empty()) {
      if (run.backend == "cuda")
        fail_input(sweep.path, ": backend cuda, ", run.label, ": ", refusal);
      backend = nullptr;
    }
  }
  return [&info, &run, context, backend](int layer) mutable -> std::unique_ptr<Decoder> {
    const Parameters& parameters = run.of_layer(layer);
    context.layer = layer;
    if (backend) return backend->make(info, parameters, context);
    return std::make_unique<ReferenceDecoder>(info, parameters, context);
  };
}

}  // namespace doublep
