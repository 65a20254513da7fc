#include "experiments/e2e/quality.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/base/error.h"

namespace doublep::e2e {
namespace {

struct Count {
  double tokens = 0, exact = 0, terms = 0, candidates = 0;
};

Count count_of(const cuda::DecodeStep& step, int pairs) {
  Count c;
  for (int pair = 0; pair < pairs; ++pair) {
    const cuda::StepWork work = step.work(pair);
    for (const cuda::Run& run : work.runs) {
      c.tokens += run.meta & 0xFF;
      c.exact += static_cast<double>(run.meta & 0xFF) * std::popcount(run.meta >> 8);
    }
    for (const std::uint32_t token : work.tokens)
      c.tokens += 1, c.exact += std::popcount(token >> cuda::kIdBits);
    c.terms += static_cast<double>(work.terms.size());
    c.candidates += work.candidates;
  }
  return c;
}

}  // namespace

std::vector<double> relative_errors(const std::vector<float>& output,
                                    const std::vector<float>& dense, int head_dim) {
  DP_ASSERT(output.size() == dense.size(), "outputs of one shape");
  std::vector<double> errors;
  for (std::size_t at = 0; at + head_dim <= output.size(); at += head_dim) {
    double difference = 0, norm = 0;
    for (std::size_t i = at; i < at + head_dim; ++i) {
      const double d = static_cast<double>(output[i]) - dense[i];
      difference += d * d, norm += static_cast<double>(dense[i]) * dense[i];
    }
    errors.push_back(std::sqrt(difference / norm));
  }
  return errors;
}

void count_reads(const bench::Workload& workload, const bench::Spec& spec,
                 const std::vector<std::unique_ptr<LayerAttention>>& layers, Point& point) {
  const double row = 2.0 * workload.head_dim(), group = workload.group();
  const int pairs = workload.kv_heads() * std::min(point.batch, kLooked);
  const double whole = static_cast<double>(point.batch) * workload.kv_heads() / pairs;
  const double all = static_cast<double>(point.context) * pairs,
               count = static_cast<double>(layers.size());
  for (const auto& layer : layers) {
    Count c;
    if (spec.options.kind == cuda::StepKind::kDense)
      c.tokens = all, c.exact = all * group;
    else
      c = count_of(layer->step(), pairs);
    const double items = static_cast<double>(layer->items());
    const double summaries = !layer->has_index()  ? 0
                             : spec.options.pages ? items * 2 * row
                                                  : items * (row + 8);
    point.bytes +=
        whole / count *
        (summaries * pairs + c.tokens * 2 * row + c.terms * row + c.candidates * (row / 4 + 8));
    point.exact_share += c.exact / (all * group) / count;
    point.union_share += c.tokens / all / count;
    if (items > 0) point.terms_share += c.terms / (items * pairs) / count;
  }
}

}  // namespace doublep::e2e
