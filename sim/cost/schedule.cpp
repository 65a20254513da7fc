#include "sim/cost/schedule.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <queue>
#include <vector>

namespace doublep::sim {

double imbalance(std::span<const double> work, int processors, Balance balance, double tile) {
  const double total = std::accumulate(work.begin(), work.end(), 0.0);
  if (total <= 0 || processors <= 1) return 1;
  if (balance == Balance::kSplit) {
    if (tile <= 0) return 1;
    double tiles = 0;
    for (double w : work) tiles += std::ceil(w / tile);
    return std::max(1.0, std::ceil(tiles / processors) * tile * processors / total);
  }
  std::priority_queue<double, std::vector<double>, std::greater<>> free_at;
  for (int p = 0; p < processors; ++p) free_at.push(0);
  double last = 0;
  for (double w : work) {
    const double end = free_at.top() + w;
    free_at.pop();
    free_at.push(end);
    last = std::max(last, end);
  }
  return std::max(1.0, last * processors / total);
}

}  // namespace doublep::sim
