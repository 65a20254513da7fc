// Attention straight from the definition, in long double and without any trick: what the
// implementation is compared with.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "core/cache/kv_cache.h"
#include "core/index/cluster_index.h"
#include "core/selection/selection.h"

namespace doublep::test {

using Real = long double;

inline Real brute_logit(const KvHead& cache, const QueryGroup& group, int h, std::int64_t token) {
  Real sum = 0;
  for (int i = 0; i < group.head_dim; ++i)
    sum += static_cast<Real>(group.query(h)[i]) * cache.key(token)[i];
  return sum * group.softmax_scale;
}

struct BruteOutput {
  std::vector<Real> output;
  Real log_sum_exp = 0;
};

/// num / den of METHODS for one head; zeros and -infinity where nothing is attended.
inline BruteOutput brute_attend(const KvHead& cache, const QueryGroup& group, int h,
                                const Selection& selection) {
  std::vector<Real> logits;
  for (std::size_t i = 0; i < selection.tokens.size(); ++i)
    logits.push_back(brute_logit(cache, group, h, selection.tokens[i]) +
                     (selection.log_weights.empty() ? 0 : selection.log_weights[i]));
  for (const ClusterTerm& term : selection.terms) logits.push_back(term.log_mass);
  BruteOutput result{std::vector<Real>(cache.value_dim, 0), -std::numeric_limits<Real>::infinity()};
  Real max = -std::numeric_limits<Real>::infinity(), den = 0;
  for (Real x : logits) max = std::max(max, x);
  if (std::isinf(max)) return result;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const Real w = std::exp(logits[i] - max);
    den += w;
    const std::size_t exact = selection.tokens.size();
    for (int c = 0; c < cache.value_dim; ++c) {
      if (i < exact) {
        result.output[c] += w * cache.value(selection.tokens[i])[c];
        continue;
      }
      const ClusterTerm& term = selection.terms[i - exact];
      Real value = selection.index->mean_values()(term.cluster, c);
      if (!selection.shift.empty())
        value += static_cast<Real>(term.value_shift) * selection.shift[c];
      result.output[c] += w * value;
    }
  }
  for (Real& o : result.output) o /= den;
  result.log_sum_exp = max + std::log(den);
  return result;
}

/// Softmax over all visible tokens.
inline std::vector<Real> brute_weights(const KvHead& cache, const QueryGroup& group, int h) {
  std::vector<Real> w(cache.length);
  Real max = -std::numeric_limits<Real>::infinity(), sum = 0;
  for (std::int64_t j = 0; j < cache.length; ++j)
    w[j] = brute_logit(cache, group, h, j), max = std::max(max, w[j]);
  for (Real& x : w) x = std::exp(x - max), sum += x;
  for (Real& x : w) x /= sum;
  return w;
}

/// |found - expected| / max(|expected|, floor), Euclidean.
inline double relative_distance(const float* found, const std::vector<Real>& expected,
                                Real floor = 1e-30L) {
  Real difference = 0, norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += (found[i] - expected[i]) * (found[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return static_cast<double>(std::sqrt(difference) / std::max(std::sqrt(norm), floor));
}

}  // namespace doublep::test
