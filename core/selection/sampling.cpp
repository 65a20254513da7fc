#include "core/selection/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/base/error.h"
#include "core/selection/top_p.h"

namespace doublep {

std::vector<std::int32_t> uniform_sample(std::int64_t n, std::int64_t count,
                                         const CounterRng& rng) {
  std::vector<std::int32_t> all(n);
  std::iota(all.begin(), all.end(), 0);
  if (count >= n) return all;
  for (std::int64_t i = 0; i < count; ++i)  // the first places of a Fisher-Yates shuffle
    std::swap(all[i], all[i + static_cast<std::int64_t>(rng.below(i, n - i))]);
  all.resize(std::max<std::int64_t>(count, 0));
  std::sort(all.begin(), all.end());
  return all;
}

double normal_quantile(double p) {
  double low = -40, high = 40;
  for (int i = 0; i < 100; ++i) {
    const double x = 0.5 * (low + high);
    (0.5 * std::erfc(-x / std::sqrt(2.0)) < p ? low : high) = x;
  }
  return 0.5 * (low + high);
}

std::int64_t sample_size(std::span<const double> certain, std::span<const double> base,
                         std::int64_t n, double z, double eps) {
  if (base.empty()) return 0;
  double max = -std::numeric_limits<double>::infinity();
  for (double x : certain) max = std::max(max, x);
  for (double x : base) max = std::max(max, x);
  const double count = static_cast<double>(base.size()), all = static_cast<double>(n);
  double denominator = 0, sum = 0, squares = 0;
  for (double x : certain) denominator += std::exp(x - max);
  for (double x : base) sum += std::exp(x - max);
  for (double x : base) squares += std::pow(std::exp(x - max) - sum / count, 2);
  denominator += all * sum / count;
  const double sigma = std::sqrt(squares / std::max(1.0, count - 1));
  const double size = std::pow(z * sigma * all / (eps * denominator), 2);
  return static_cast<std::int64_t>(std::ceil(std::clamp(size, count, all)));
}

namespace {

constexpr double kUniform = 0.1;  // share of the draws that ignores the rates

double log_spread(const SampledMass& m) {
  const double relative = m.standard_error / m.estimate;
  return std::sqrt(std::log1p(relative * relative));
}
const double kChebyshev = 1 / std::sqrt(0.05);

struct Draws {
  std::vector<std::int32_t> tokens;
  std::vector<double> log_weights;  // of 1 / (samples pi)
};

Draws draw(const SamplePool& pool, std::int64_t samples, double start) {
  const auto n = static_cast<double>(pool.tokens.size()), m = static_cast<double>(samples);
  const std::vector<double> rates = relative_masses(pool.log_rates);
  double total = 0;
  std::int64_t begin = 0;
  for (std::size_t c = 0; c < rates.size(); begin = pool.ends[c++])
    total += rates[c] * static_cast<double>(pool.ends[c] - begin);
  Draws draws;
  double passed = 0;  // probability of the cells before this one
  std::int64_t next = 0;
  begin = 0;
  for (std::size_t c = 0; c < rates.size(); begin = pool.ends[c++]) {
    const std::int64_t size = pool.ends[c] - begin;
    const double pi =
        (total > 0 ? (1 - kUniform) * rates[c] / total : (1 - kUniform) / n) + kUniform / n;
    const bool last = c + 1 == rates.size();  // takes what rounding of `passed` left over
    for (; next < samples; ++next) {
      const double place = (static_cast<double>(next) + start) / m - passed;
      if (!last && place >= pi * static_cast<double>(size)) break;
      const auto j = std::min(static_cast<std::int64_t>(std::max(place, 0.0) / pi), size - 1);
      draws.tokens.push_back(pool.tokens[begin + j]);
      draws.log_weights.push_back(-std::log(m * pi));
    }
    passed += pi * static_cast<double>(size);
  }
  return draws;
}

}  // namespace

void SamplePool::add(std::span<const std::int32_t> cell, double log_rate) {
  if (cell.empty()) return;
  tokens.insert(tokens.end(), cell.begin(), cell.end());
  ends.push_back(static_cast<std::int64_t>(tokens.size()));
  log_rates.push_back(log_rate);
}

double SampledMass::low() const {
  return standard_error > 0 ? estimate * std::exp(-kChebyshev * log_spread(*this)) : estimate;
}
double SampledMass::high() const {
  return standard_error > 0 ? estimate * std::exp(kChebyshev * log_spread(*this)) : estimate;
}

SampledMass sample_mass(const SamplePool& pool, std::int64_t samples, double start,
                        const LogitsOf& logits_of, std::vector<std::int32_t>& read) {
  DP_EXPECTS(samples >= 2, "a standard error takes two samples");
  SampledMass mass;
  const bool all = static_cast<std::int64_t>(pool.tokens.size()) <= samples;
  const Draws draws = all ? Draws{pool.tokens, std::vector<double>(pool.tokens.size(), 0.0)}
                          : draw(pool, samples, start);
  if (draws.tokens.empty()) return mass;
  std::vector<double> terms = logits_of(draws.tokens);
  for (std::size_t i = 0; i < terms.size(); ++i) terms[i] += draws.log_weights[i];
  terms = relative_masses(terms, &mass.shift);
  for (double t : terms) mass.estimate += t;
  if (!all) {
    const double m = static_cast<double>(terms.size());
    double squares = 0;
    for (double t : terms) squares += (t - mass.estimate / m) * (t - mass.estimate / m);
    mass.standard_error = std::sqrt(squares * m / (m - 1));
  }
  read.insert(read.end(), draws.tokens.begin(), draws.tokens.end());
  return mass;
}

}  // namespace doublep
