#include "core/trace/recorded_outputs.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <vector>

#include "core/base/error.h"
#include "core/base/parallel.h"

namespace doublep {

double output_mismatch(const GroundTruth& truth, int head, const float* recorded) {
  const auto expected = ConstRowF(recorded, truth.outputs.cols()).cast<double>();
  const double norm = expected.norm(), distance = (truth.outputs.row(head) - expected).norm();
  return norm > 0 ? distance / norm : distance;
}

double output_mismatch(const Trace& trace, const TraceLayer& layer) {
  if (layer.outputs.empty()) return std::numeric_limits<double>::quiet_NaN();
  const TraceInfo& info = trace.info();
  const std::int64_t heads = info.num_kv_heads;
  std::vector<double> worst(static_cast<std::size_t>(info.num_steps() * heads), 0.0);
  parallel_for(info.num_steps() * heads, [&](std::int64_t i) {
    const std::int64_t step = i / heads;
    const int kv_head = static_cast<int>(i % heads);
    const KvHead cache = trace.cache(layer).first(info.positions[step] + 1).head(kv_head);
    const GroundTruth truth =
        GroundTruth::of(cache, trace.queries(layer, step).group(kv_head, info.num_kv_heads));
    for (int g = 0; g < info.group_size(); ++g) {
      const std::int64_t row = step * info.num_query_heads + kv_head * info.group_size() + g;
      worst[i] = std::max(worst[i],
                          output_mismatch(truth, g, layer.outputs.data() + row * info.value_dim));
    }
  });
  return *std::max_element(worst.begin(), worst.end());
}

void judge_mismatch(const Trace& trace, int layer, double mismatch, bool allow) {
  if (!(mismatch > kOutputTolerance)) return;
  const std::string line =
      concat(trace.info().path, ": layers/", layer,
             "/outputs differ from dense attention over the stored keys, values and queries by up "
             "to ",
             mismatch, " (relative; tolerance ", kOutputTolerance,
             "); was it recorded before the rotary embedding, or with another scale?");
  if (!allow) fail_input(line, " Record it again, or --allow-mismatch");
  std::fprintf(stderr, "warning: %s\n", printable(line).c_str());
}

}  // namespace doublep
