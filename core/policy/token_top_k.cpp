#include "core/policy/token_top_k.h"

#include <limits>
#include <vector>

#include "core/cost/stages.h"
#include "core/selection/top_p.h"

namespace doublep {

ParamSpec token_budget(Budget fallback) {
  return budget("budget", fallback, "tokens in all, sink and window among them");
}

void select_top_k(const MatrixD& scores, const Budget& budget, std::int64_t sink,
                  std::int64_t window, GroupSelection& out) {
  const std::int64_t n = scores.cols();
  const ExactZone zone = ExactZone::of(sink, window, n);
  const std::int64_t k = tokens_in_all(budget, zone);
  const auto heads = static_cast<double>(out.heads.size());
  const auto rows = static_cast<double>(scores.rows());
  const Work pick = cost::pick(static_cast<double>(n));
  out.charge(Stage::kSelect, pick.bytes * rows, pick.flops * rows / heads);
  for (std::size_t h = 0; h < out.heads.size(); ++h) {
    out.heads[h].target_p = std::numeric_limits<double>::quiet_NaN();
    if (h >= static_cast<std::size_t>(scores.rows())) {
      out.heads[h].tokens = out.heads[0].tokens;
      continue;
    }
    const auto row = scores.row(static_cast<Eigen::Index>(h));
    std::vector<double> forced(row.data(), row.data() + n);
    zone.for_each([&](auto j) { forced[j] = std::numeric_limits<double>::infinity(); });
    out.heads[h].tokens = top_k(forced, k);
  }
}

}  // namespace doublep
