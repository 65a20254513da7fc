#include "experiments/shards/deal.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <utility>

namespace doublep {
namespace {

struct Task {
  std::size_t trace, place;
  double cost;
};

struct Deal {
  std::vector<int> shard;  // of each run
  double busiest = 0;      // what the shard with most to do has to do
};

// The costliest first, each to the shard that is then done first (longest processing time first,
// Graham, 1969).
Deal one_by_one(std::vector<Task> runs, const std::vector<double>& shared, int shards) {
  std::stable_sort(runs.begin(), runs.end(),
                   [](const Task& a, const Task& b) { return a.cost > b.cost; });
  Deal dealt{std::vector<int>(runs.size())};
  std::vector<double> load(static_cast<std::size_t>(shards), 0.0);
  std::vector<std::vector<bool>> has(load.size(), std::vector<bool>(shared.size()));
  for (const Task& run : runs) {
    std::size_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t s = 0; s < load.size(); ++s) {
      const double then = load[s] + run.cost + (has[s][run.trace] ? 0 : shared[run.trace]);
      if (then < least) least = then, best = s;
    }
    load[best] = least, has[best][run.trace] = true;
    dealt.shard[run.place] = static_cast<int>(best);
    dealt.busiest = std::max(dealt.busiest, least);
  }
  return dealt;
}

// One stretch after the other, none of more than `most` but where there is no shard left.
Deal stretches(const std::vector<Task>& runs, const std::vector<double>& shared, int shards,
               double most) {
  Deal dealt;
  int shard = 0;
  double load = 0;
  for (const Task& run : runs) {
    const bool new_trace = run.place == 0 || runs[run.place - 1].trace != run.trace;
    double then = load + run.cost + (load == 0 || new_trace ? shared[run.trace] : 0);
    const auto left = runs.size() - run.place;  // as many shards as runs are left: one each
    if (load > 0 && shard + 1 < shards &&
        (then > most || left < static_cast<std::size_t>(shards - shard)))
      ++shard, then = run.cost + shared[run.trace];
    load = then;
    dealt.shard.push_back(shard);
    dealt.busiest = std::max(dealt.busiest, load);
  }
  return dealt;
}

// The stretches whose busiest shard has the least to do, to a millionth of it.
Deal best_stretches(const std::vector<Task>& runs, const std::vector<double>& shared, int shards) {
  Deal best = stretches(runs, shared, shards, std::numeric_limits<double>::infinity());
  double low = 0;
  while (best.busiest - low > 1e-6 * best.busiest) {
    const double most = low + (best.busiest - low) / 2;
    Deal tried = stretches(runs, shared, shards, most);
    if (tried.busiest <= most)
      best = std::move(tried);
    else
      low = most;
  }
  return best;
}

}  // namespace

std::vector<int> deal(const std::vector<std::vector<double>>& costs,
                      const std::vector<double>& shared, int shards) {
  std::vector<Task> runs;
  for (std::size_t t = 0; t < costs.size(); ++t)
    for (const double cost : costs[t]) runs.push_back({t, runs.size(), cost});
  Deal apart = one_by_one(runs, shared, shards), together = best_stretches(runs, shared, shards);
  return std::move(together.busiest < apart.busiest ? together : apart).shard;
}

}  // namespace doublep
