#include "core/policy/token_top_k.h"

#include <limits>
#include <vector>

#include "core/cost/stages.h"
#include "core/selection/top_k.h"

namespace doublep {

void select_top_k(const MatrixD& scores, double budget, std::int64_t sink, std::int64_t window,
                  GroupSelection& out) {
  const std::int64_t n = scores.cols(), k = budget_tokens(budget, n);
  const ExactZone zone = ExactZone::of(sink, window, n, k);
  out.charge_heads(Stage::kSelect, cost::pick(static_cast<double>(n)));
  for (std::size_t h = 0; h < out.heads.size(); ++h) {
    const auto row = scores.row(static_cast<Eigen::Index>(h));
    std::vector<double> forced(row.data(), row.data() + n);
    zone.for_each([&](auto j) { forced[j] = std::numeric_limits<double>::infinity(); });
    out.heads[h].tokens = top_k(forced, k);
    out.heads[h].target_p = std::numeric_limits<double>::quiet_NaN();
  }
}

}  // namespace doublep
