// Is a sampled mass right on average, and its interval honest?
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/random.h"
#include "core/selection/sampling.h"
#include "tests/catch.h"

using namespace doublep;

namespace {

// Cells of ten tokens with log-normal weights around the cell's rate.
struct Population {
  SamplePool pool;
  std::vector<double> logits;
  double total = 0;

  explicit Population(int cells, double spread = 1) {
    const CounterRng rng(11);
    for (int c = 0; c < cells; ++c) {
      std::vector<std::int32_t> tokens(10);
      std::iota(tokens.begin(), tokens.end(), 10 * c);
      pool.add(tokens, -0.5 * c);
      for (std::int32_t j : tokens) {
        logits.push_back(-0.5 * c + spread * rng.normal(j));
        total += std::exp(logits.back());
      }
    }
  }
  SampledMass sample(std::int64_t samples, double start,
                     std::vector<std::int32_t>* seen = nullptr) const {
    std::vector<std::int32_t> read;
    const auto mass = sample_mass(
        pool, samples, start,
        [&](std::span<const std::int32_t> tokens) {
          std::vector<double> x;
          for (std::int32_t j : tokens) x.push_back(logits[j]);
          return x;
        },
        read);
    if (seen) *seen = read;
    return mass;
  }
};

}  // namespace

TEST_CASE("a sampled mass is unbiased: 10,000 seeds") {
  const Population people(4);
  const CounterRng rng(3);
  double sum = 0, squares = 0;
  constexpr int kSeeds = 10000;
  for (int i = 0; i < kSeeds; ++i) {
    const SampledMass mass = people.sample(6, rng.uniform(i));
    const double estimate = mass.estimate * std::exp(mass.shift);
    sum += estimate, squares += estimate * estimate;
  }
  const double mean = sum / kSeeds, deviation = std::sqrt(squares / kSeeds - mean * mean);
  CHECK(deviation > 0.01 * people.total);  // it is a sample
  CHECK(std::abs(mean - people.total) < 3 * deviation / std::sqrt(kSeeds));
}

TEST_CASE("a pool no larger than the sample is summed") {
  const Population people(2);
  std::vector<std::int32_t> seen;
  const SampledMass mass = people.sample(20, 0.3, &seen);
  CHECK(mass.estimate * std::exp(mass.shift) == Approx(people.total));
  CHECK(mass.standard_error == 0);
  CHECK(mass.low() == mass.estimate);
  CHECK(mass.high() == mass.estimate);
  CHECK(seen.size() == 20);
}

TEST_CASE("an empty pool has no mass") {
  std::vector<std::int32_t> read;
  const SampledMass mass = sample_mass(
      {}, 4, 0.5, [](auto) { return std::vector<double>{}; }, read);
  CHECK(mass.estimate == 0);
  CHECK(mass.high() == 0);
}

TEST_CASE("every start draws the asked number, cells of high rate most often") {
  const Population people(12);
  for (double start : {0.0, 0.25, 0.5, 0.999999999}) {
    std::vector<std::int32_t> seen;
    const SampledMass mass = people.sample(16, start, &seen);
    CHECK(seen.size() == 16);
    CHECK(std::is_sorted(seen.begin(), seen.end()));
    CHECK(seen.front() < 10);
    CHECK(std::count_if(seen.begin(), seen.end(), [](auto j) { return j < 20; }) >= 8);
    CHECK(0 < mass.low());
    CHECK(mass.low() < mass.estimate);
    CHECK(mass.estimate < mass.high());
    CHECK(mass.estimate / mass.low() == Approx(mass.high() / mass.estimate));
  }
}

TEST_CASE("the interval holds the truth far more often than the normal one") {
  const Population people(30, 1.6);
  const CounterRng rng(8);
  int covered = 0, normal = 0;
  for (int i = 0; i < 2000; ++i) {
    const SampledMass m = people.sample(24, rng.uniform(i));
    const double truth = people.total * std::exp(-m.shift);
    covered += m.low() <= truth && truth <= m.high();
    normal += std::abs(m.estimate - truth) <= 1.96 * m.standard_error;
  }
  CHECK(covered >= 1860);  // 93 %
  CHECK(normal < covered);
}

TEST_CASE("logits and rates beyond a double's exponent") {
  Population people(3);
  for (double& x : people.logits) x += 5000;
  for (double& r : people.pool.log_rates) r -= 90000;
  const SampledMass mass = people.sample(8, 0.4);
  CHECK(std::isfinite(mass.estimate));
  CHECK(mass.shift > 4900);
  CHECK(std::exp(mass.shift - 5000) * mass.estimate == Approx(people.total).epsilon(1));
}
