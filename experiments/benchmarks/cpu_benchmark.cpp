// The stages of the CPU reference, one at a time (Google Benchmark). Bytes are those that a stage
// has to read, so that its rate can be held against memory's.
#include <benchmark/benchmark.h>

#include <Eigen/Core>
#include <algorithm>
#include <numeric>
#include <vector>

#include "core/attention/attend.h"
#include "core/base/random.h"
#include "core/index/mass_estimate.h"
#include "core/selection/top_p.h"

namespace doublep {
namespace {

constexpr int kHeadDim = 128, kGroup = 4;
constexpr double kScale = 0.08838834764831845;

std::vector<float> normals(std::int64_t n, std::uint64_t stream) {
  const CounterRng rng(1, stream);
  std::vector<float> values(n);
  for (std::int64_t i = 0; i < n; ++i) values[i] = static_cast<float>(rng.normal(i));
  return values;
}

struct Problem {
  explicit Problem(std::int64_t tokens)
      : keys(normals(tokens * kHeadDim, 0)),
        values(normals(tokens * kHeadDim, 1)),
        queries(normals(kGroup * kHeadDim, 2)),
        cache{keys.data(), values.data(), tokens, kHeadDim},
        group{queries.data(), kGroup, kHeadDim, kScale} {}
  std::vector<float> keys, values, queries;
  KvHead cache;
  QueryGroup group;
};

std::vector<double> masses(std::int64_t n) {
  const CounterRng rng(2);
  std::vector<double> m(n);
  for (std::int64_t i = 0; i < n; ++i) m[i] = std::exp(2 * rng.normal(i));
  return m;
}

void attend_all(benchmark::State& state, const Problem& problem,
                const std::vector<Selection>& selections, double bytes) {
  std::vector<float> output(kGroup * kHeadDim);
  double log_sum_exp[kGroup];
  for (auto _ : state) {
    attend(problem.cache, problem.group, selections, output.data(), log_sum_exp);
    benchmark::DoNotOptimize(output.data());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes * state.iterations()));
}

void dense_attend(benchmark::State& state) {
  const Problem problem(state.range(0));
  std::vector<Selection> selections(kGroup);
  for (auto& s : selections) {
    s.tokens.resize(state.range(0));
    std::iota(s.tokens.begin(), s.tokens.end(), 0);
  }
  attend_all(state, problem, selections, 8.0 * kHeadDim * state.range(0));
}
BENCHMARK(dense_attend)->Arg(1024)->Arg(16384);

// A selection of its own for every head: 1 token in `stride`.
void sparse_attend(benchmark::State& state) {
  const std::int64_t tokens = 16384, stride = state.range(0);
  const Problem problem(tokens);
  const CounterRng rng(3);
  std::vector<Selection> selections(kGroup);
  double rows = 0;
  for (int h = 0; h < kGroup; ++h)
    for (std::int64_t j = 0; j < tokens; ++j)
      if (rng.below(h * tokens + j, stride) == 0)
        selections[h].tokens.push_back(static_cast<std::int32_t>(j)), ++rows;
  attend_all(state, problem, selections, 8.0 * kHeadDim * rows);
}
BENCHMARK(sparse_attend)->Arg(4)->Arg(16)->Arg(64);

// What dense_attend is held against: the same bytes, added up.
void read_loop(benchmark::State& state) {
  const Problem problem(state.range(0));
  for (auto _ : state)
    for (const auto* rows : {&problem.keys, &problem.values}) {
      const float* p = rows->data();
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::size_t i = 0; i < rows->size(); ++i) sum += p[i];
      benchmark::DoNotOptimize(sum);
    }
  state.SetBytesProcessed(8ll * kHeadDim * state.range(0) * state.iterations());
}
BENCHMARK(read_loop)->Arg(1024)->Arg(16384);

void kmeans_build(benchmark::State& state) {
  const Problem problem(state.range(0));
  for (auto _ : state)
    benchmark::DoNotOptimize(ClusterIndex::build(problem.cache, 0, state.range(0), {}));
  state.SetItemsProcessed(state.range(0) * state.iterations());
}
BENCHMARK(kmeans_build)->Arg(4096)->Unit(benchmark::kMillisecond)->UseRealTime();

void cluster_estimate(benchmark::State& state) {
  const Problem problem(state.range(0));
  ClusteringOptions options;
  options.kmeans.iterations = 1;
  const ClusterIndex index = ClusterIndex::build(problem.cache, 0, state.range(0), options);
  const auto estimator = state.range(1) ? Estimator::kSecondOrder : Estimator::kJensen;
  for (auto _ : state)
    benchmark::DoNotOptimize(estimate_log_masses(index, problem.group, estimator));
  state.SetBytesProcessed(4 * kHeadDim * index.num_clusters() * state.iterations());
}
BENCHMARK(cluster_estimate)->Args({4096, 0})->Args({4096, 1});

void select_top_k(benchmark::State& state) {
  const auto m = masses(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(top_k(m, state.range(0) / 16));
  state.SetItemsProcessed(state.range(0) * state.iterations());
}
BENCHMARK(select_top_k)->Arg(1024)->Arg(16384);

void select_top_p(benchmark::State& state) {
  const auto m = masses(state.range(0));
  const double total = std::accumulate(m.begin(), m.end(), 0.0);
  for (auto _ : state) {
    const auto order = descending_order(m);
    benchmark::DoNotOptimize(top_p_prefix(m, order, 0.95, total));
  }
  state.SetItemsProcessed(state.range(0) * state.iterations());
}
BENCHMARK(select_top_p)->Arg(1024)->Arg(16384);

template <class Half>
void widen(benchmark::State& state) {
  const std::int64_t n = state.range(0);
  const auto wide = normals(n, 4);
  const Eigen::Array<Half, Eigen::Dynamic, 1> bits =
      Eigen::Map<const Eigen::ArrayXf>(wide.data(), n).template cast<Half>();
  Eigen::ArrayXf out(n);
  for (auto _ : state) {
    out = bits.template cast<float>();
    benchmark::DoNotOptimize(out.data());
  }
  state.SetBytesProcessed(2 * n * state.iterations());
}
BENCHMARK(widen<Eigen::half>)->Arg(1 << 20);
BENCHMARK(widen<Eigen::bfloat16>)->Arg(1 << 20);

}  // namespace
}  // namespace doublep

BENCHMARK_MAIN();
