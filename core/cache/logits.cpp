#include "core/cache/logits.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace doublep {

MatrixD exact_logits(const QueryGroup& group, const float* rows, std::int64_t num_rows) {
  const MatrixD queries =
      ConstMapF(group.queries, group.size, group.head_dim).cast<double>() * group.softmax_scale;
  MatrixD logits(group.size, num_rows);
  constexpr std::int64_t kBlock = 256;  // widened rows stay in the L2 cache
  MatrixD wide(std::min(kBlock, num_rows), group.head_dim);
  for (std::int64_t begin = 0; begin < num_rows; begin += kBlock) {
    const std::int64_t n = std::min(kBlock, num_rows - begin);
    wide.topRows(n) = ConstMapF(rows + begin * group.head_dim, n, group.head_dim).cast<double>();
    logits.middleCols(begin, n).noalias() = queries * wide.topRows(n).transpose();
  }
  return logits;
}

double log_sum_exp(std::span<const double> x) {
  if (x.empty()) return -std::numeric_limits<double>::infinity();
  const double max = *std::max_element(x.begin(), x.end());
  if (!std::isfinite(max)) return max;
  double sum = 0;
  for (double v : x) sum += std::exp(v - max);
  return max + std::log(sum);
}

}  // namespace doublep
