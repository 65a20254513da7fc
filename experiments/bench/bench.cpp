#include "experiments/bench/bench.h"

#include <chrono>
#include <cmath>
#include <iomanip>
#include <memory>

#include "core/base/error.h"
#include "cuda/decoder/factory.h"
#include "experiments/bench/report.h"
#include "experiments/bench/spec.h"
#include "experiments/bench/timing.h"
#include "experiments/bench/workload.h"

namespace doublep::bench {
namespace {

using cuda::StepKind;

struct Place {
  std::int64_t context;
  int batch;
};

/// A cache, an index where the policy needs one, and a step over both.
struct Subject {
  std::unique_ptr<cuda::Cache> cache;
  std::unique_ptr<cuda::ItemIndex> index;
  std::unique_ptr<cuda::DecodeStep> step;
  double build_ms = 0;
  std::int64_t items = 0;
};

class Bench {
 public:
  Bench(const BenchOptions& options, const Workload& workload, Timer& timer, double ceiling)
      : options_(options), workload_(workload), timer_(timer), ceiling_(ceiling) {}

  /// All policies at one context and batch: first those on the cache in token order, then those on
  /// the cache in cluster order, so that only one cache is in memory.
  std::vector<Point> measure(const std::vector<Spec>& specs, Place place) {
    dense_.clear();
    std::vector<Point> points(specs.size());
    for (const bool clustered : {false, true}) {
      Subject subject;
      std::string built;
      for (std::size_t i = 0; i < specs.size(); ++i)
        if (specs[i].clustered == clustered) points[i] = one(specs[i], place, subject, built);
    }
    for (Point& p : points)
      for (const Point& d : points)
        if (d.policy == "dense") p.to_dense = d.step_us / p.step_us;
    return points;
  }

 private:
  cuda::Shape shape(Place place) const {
    return {place.batch * workload_.kv_heads(), workload_.kv_heads(), workload_.group(),
            workload_.head_dim()};
  }

  void fill(cuda::Cache& cache, int sequence, Place place) {
    for (int h = 0; h < workload_.kv_heads(); ++h) {
      const std::int64_t pair = static_cast<std::int64_t>(sequence) * workload_.kv_heads() + h;
      workload_.fill(true, sequence, h, place.context, cache.keys(pair), nullptr);
      workload_.fill(false, sequence, h, place.context, cache.values(pair), nullptr);
    }
  }

  void build(const Spec& spec, Place place, Subject& s, std::string& built) {
    const std::string key = index_key(spec);
    s.step.reset();
    if (key == built) return;
    const auto n = static_cast<std::int32_t>(place.context);
    const auto sink = static_cast<std::int32_t>(spec.sink),
               tail = static_cast<std::int32_t>(place.context - spec.window);
    s.index.reset();
    if (!s.cache) {
      s.cache = std::make_unique<cuda::Cache>(shape(place), cuda::DType::kBf16, place.context);
      if (!spec.clustered)
        for (int b = 0; b < place.batch; ++b) fill(*s.cache, b, place);
    }
    if (spec.clustered) {
      const auto segments = cuda::make_segments(tail - sink, spec.clustering.tokens_per_cluster, 0,
                                                spec.clustering.segment);
      s.items = cuda::total_clusters(segments);
      s.index = std::make_unique<cuda::ItemIndex>(*s.cache, s.items, true);
      cuda::Cache source(shape({place.context, 1}), cuda::DType::kBf16, place.context);
      std::vector<double> times;
      for (int b = 0; b < place.batch; ++b) {
        for (int h = 0; h < workload_.kv_heads(); ++h) {
          workload_.fill(true, b, h, place.context, source.keys(h), nullptr);
          workload_.fill(false, b, h, place.context, source.values(h), nullptr);
        }
        for (int again = 0; again < (b == 0 ? 2 : 1); ++again) {  // the first also allocates
          DP_CUDA(cudaDeviceSynchronize());
          const auto begin = std::chrono::steady_clock::now();
          s.index->build_clusters(*s.cache, b, source.keys(), source.values(), place.context, sink,
                                  tail, n, spec.clustering, nullptr);
          DP_CUDA(cudaDeviceSynchronize());
          if (b > 0 || again > 0 || place.batch == 1)
            times.push_back(
                std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
                    .count());
        }
      }
      s.build_ms = *std::min_element(times.begin(), times.end());
    } else {
      for (int b = 0; b < place.batch; ++b) s.cache->set_zones(b, sink, tail, n);
      if (spec.options.pages) {
        s.items = place.context / cuda::kTile;
        s.index = std::make_unique<cuda::ItemIndex>(*s.cache, s.items, true,
                                                    spec.options.kind == StepKind::kTwilight);
        DP_CUDA(cudaDeviceSynchronize());
        const auto begin = std::chrono::steady_clock::now();
        for (int b = 0; b < place.batch; ++b) s.index->build_pages(*s.cache, b, nullptr);
        DP_CUDA(cudaDeviceSynchronize());
        s.build_ms =
            std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
                .count() /
            place.batch;
      }
    }
    built = key;
  }

  Point one(const Spec& spec, Place place, Subject& s, std::string& built) {
    build(spec, place, s, built);
    cuda::StepOptions step_options = spec.options;
    step_options.overlap = options_.overlap;
    s.step = std::make_unique<cuda::DecodeStep>(*s.cache, s.index.get(), step_options);
    if (spec.options.rule == cuda::SelectRule::kCount)
      for (int b = 0; b < place.batch; ++b) {
        const auto items = [&](double budget) {
          return static_cast<std::int32_t>(budget < 1           ? budget * s.items
                                           : spec.options.pages ? budget / cuda::kTile
                                                                : budget);
        };
        s.step->set_budget(b, items(spec.kept), items(spec.refined));
      }
    Point p;
    p.policy = spec.text, p.context = place.context, p.batch = place.batch;
    p.build_ms = s.build_ms;
    std::vector<double> times, estimate, select, errors;
    for (int q = 0; q < options_.queries; ++q) {
      std::vector<std::uint16_t> queries;
      for (int b = 0; b < place.batch; ++b) {
        const auto mine = workload_.queries(b, q * 7);
        queries.insert(queries.end(), mine.begin(), mine.end());
      }
      DP_CUDA(cudaMemcpy(s.step->queries(), queries.data(), queries.size() * 2,
                         cudaMemcpyHostToDevice));
      const auto append = [](std::vector<double>& to, const std::vector<double>& from) {
        to.insert(to.end(), from.begin(), from.end());
      };
      if (options_.stages && s.index) {
        append(estimate, timer_.graph_times([&](auto t) { s.step->enqueue_estimate(t, false); }, 1,
                                            options_.repeats / 2));
        append(select, timer_.graph_times(
                           [&](auto t) {
                             s.step->enqueue_estimate(t, false),
                                 s.step->enqueue_select(t, options_.overlap);
                           },
                           1, options_.repeats / 2));
      }
      append(times, timer_.graph_times([&](auto t) { s.step->enqueue(t); }, 2, options_.repeats));
      compare(spec, place, *s.step, q, errors);
      count(spec, place, s, p);
    }
    p.bytes /= options_.queries, p.exact_share /= options_.queries;
    p.union_share /= options_.queries, p.terms_share /= options_.queries;
    p.step_us = median(times), p.p95_us = quantile(times, 0.95);
    if (!estimate.empty()) {
      p.estimate_us = median(estimate), p.select_us = median(select) - p.estimate_us;
      p.attend_us = p.step_us - median(select);
    } else {
      p.attend_us = p.step_us;
    }
    p.ceiling_share = p.bytes / (p.step_us * 1e-6) / ceiling_;
    for (double e : errors) p.error_mean += e / static_cast<double>(errors.size());
    p.error_median = median(errors), p.error_p95 = quantile(errors, 0.95);
    p.error_max = quantile(errors, 1);
    return p;
  }

  /// Relative distance to dense attention over the same cache, per query head of up to 8 sequences.
  void compare(const Spec& spec, Place place, const cuda::DecodeStep& step, int q,
               std::vector<double>& errors) {
    const std::int64_t d = workload_.head_dim(),
                       heads = static_cast<std::int64_t>(workload_.kv_heads()) * workload_.group() *
                               std::min(place.batch, 8);
    std::vector<float> output(heads * d);
    DP_CUDA(cudaMemcpy(output.data(), step.output(), output.size() * 4, cudaMemcpyDeviceToHost));
    if (spec.policy == "dense") {
      if (static_cast<int>(dense_.size()) <= q) dense_.resize(q + 1);
      dense_[q] = output;
    }
    if (static_cast<int>(dense_.size()) <= q) return;
    for (std::int64_t h = 0; h < heads; ++h) {
      double difference = 0, norm = 0;
      for (std::int64_t i = h * d; i < (h + 1) * d; ++i) {
        difference += (double(output[i]) - dense_[q][i]) * (double(output[i]) - dense_[q][i]);
        norm += double(dense_[q][i]) * dense_[q][i];
      }
      errors.push_back(std::sqrt(difference / norm));
    }
  }

  /// Bytes that this selection needs: summaries of all items, then keys and values of the union of
  /// every group's exact tokens and mean values of its terms, each once. Counted over up to 8
  /// sequences and scaled to the batch.
  void count(const Spec& spec, Place place, const Subject& s, Point& p) const {
    const double row = 2.0 * workload_.head_dim(), group = workload_.group();
    const int pairs = workload_.kv_heads() * std::min(place.batch, 8);
    const double whole = static_cast<double>(place.batch) * workload_.kv_heads() / pairs;
    double tokens = 0, exact = 0, terms = 0, candidates = 0;
    if (spec.policy == "dense") {
      tokens = static_cast<double>(place.context) * pairs, exact = tokens * group;
    } else {
      for (int pair = 0; pair < pairs; ++pair) {
        const cuda::StepWork work = s.step->work(pair);
        for (const cuda::Run& run : work.runs) {
          tokens += run.meta & 0xFF;
          exact += (run.meta & 0xFF) * __builtin_popcount(run.meta >> 8);
        }
        for (const std::uint32_t token : work.tokens)
          tokens += 1, exact += __builtin_popcount(token >> cuda::kIdBits);
        terms += static_cast<double>(work.terms.size());
        candidates += work.candidates;
      }
    }
    const double summaries = !s.index
                                 ? 0
                                 : s.items * (spec.options.pages ? 2 * row : row + 8) +
                                       (spec.options.value_shift ? row * workload_.head_dim() : 0);
    p.bytes +=
        whole * (summaries * pairs + tokens * 2 * row + terms * row + candidates * (row / 4 + 8));
    const double all = static_cast<double>(place.context) * pairs;
    p.exact_share += exact / (all * group), p.union_share += tokens / all;
    if (s.items > 0) p.terms_share += terms / (static_cast<double>(s.items) * pairs);
  }

  const BenchOptions& options_;
  const Workload& workload_;
  Timer& timer_;
  double ceiling_;
  std::vector<std::vector<float>> dense_;  // outputs by query
};

}  // namespace

std::vector<Point> run_bench(const BenchOptions& options, std::ostream& out) {
  if (const std::string problem = cuda::device_problem(); !problem.empty())
    fail_input("bench: ", problem);
  const Workload workload(options.traces, options.kv_heads, static_cast<float>(options.noise));
  std::vector<Spec> specs;
  for (const std::string& text : options.policies)
    specs.push_back(parse_spec(text, workload.scale()));
  Timer timer;
  const double ceiling = timer.read_ceiling();
  Report report{options, cuda::device_description(), workload.description(),
                ceiling, timer.launch_floor(),       {}};
  print_header(report, workload, out);
  Bench bench(options, workload, timer, ceiling);
  for (const int batch : options.batches)
    for (const std::int64_t context : options.contexts) {
      const double gib = 4.0 * workload.head_dim() * workload.kv_heads() * batch *
                         static_cast<double>(context) / (1ull << 30);
      if (gib > options.memory_gib) continue;
      for (Point& p : bench.measure(specs, {context, batch})) {
        print_point(p, out);
        report.points.push_back(std::move(p));
      }
    }
  if (!options.json.empty()) write_json(report, workload, options.json);
  return report.points;
}

}  // namespace doublep::bench
