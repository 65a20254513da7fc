#include "core/metrics/ground_truth.h"

#include <algorithm>
#include <cmath>

#include "core/cache/logits.h"

namespace doublep {

GroundTruth GroundTruth::of(const KvHead& cache, const QueryGroup& group) {
  GroundTruth truth;
  truth.weights = exact_logits(group, cache);
  truth.log_sum_exp.resize(group.size);
  for (int h = 0; h < group.size; ++h) {
    auto row = truth.weights.row(h).array();
    const double max = row.maxCoeff();
    row = (row - max).exp();
    const double sum = row.sum();
    row /= sum;
    truth.log_sum_exp[h] = max + std::log(sum);
  }
  truth.outputs = MatrixD::Zero(group.size, cache.value_dim);
  constexpr std::int64_t kBlock = 256;
  for (std::int64_t begin = 0; begin < cache.length; begin += kBlock) {
    const std::int64_t n = std::min(kBlock, cache.length - begin);
    const MatrixD values = ConstMapF(cache.value(begin), n, cache.value_dim).cast<double>();
    truth.outputs.noalias() += truth.weights.middleCols(begin, n) * values;
  }
  return truth;
}

}  // namespace doublep
