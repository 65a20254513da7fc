// How far a policy is from dense attention, in the limit in which it should be none.
#pragma once

#include <algorithm>
#include <numeric>

#include "tests/support/brute_force.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

namespace doublep::test {

/// Worst relative distance over all query heads to attention over every token.
inline double distance_to_dense(const std::string& policy, const Given& given,
                                const RandomCache& data) {
  auto decoder = make_decoder(policy, given);
  decoder->prefill(data.view());
  const StepResult result = decoder->step(data.block(), Detail::kOutput);
  Selection all;
  all.tokens.resize(data.shape.tokens);
  std::iota(all.tokens.begin(), all.tokens.end(), 0);
  double worst = 0;
  for (int h = 0; h < data.shape.kv_heads * data.shape.group; ++h) {
    const int kv = h / data.shape.group, g = h % data.shape.group;
    const auto dense = brute_attend(data.head(kv), data.group(kv), g, all);
    worst = std::max(
        worst, relative_distance(result.output.data() + h * data.shape.head_dim, dense.output));
  }
  return worst;
}

/// exp(lse) of what a selection holds over that of all tokens: 1 on average where it is unbiased.
inline double relative_denominator(const KvHead& cache, const QueryGroup& group, int h,
                                   const Selection& selection) {
  Selection all;
  all.tokens.resize(cache.length);
  std::iota(all.tokens.begin(), all.tokens.end(), 0);
  return static_cast<double>(std::exp(brute_attend(cache, group, h, selection).log_sum_exp -
                                      brute_attend(cache, group, h, all).log_sum_exp));
}

/// Mean and standard error of draw(seed) over seeds 0 .. n-1.
template <class Draw>
std::pair<double, double> mean_and_error(int n, Draw draw) {
  double sum = 0, squares = 0;
  for (int seed = 0; seed < n; ++seed) {
    const double x = draw(static_cast<std::uint64_t>(seed));
    sum += x, squares += x * x;
  }
  const double mean = sum / n;
  return {mean, std::sqrt(std::max(0.0, squares / n - mean * mean) / n)};
}

}  // namespace doublep::test
