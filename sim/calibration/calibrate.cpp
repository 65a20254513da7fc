#include "sim/calibration/calibrate.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "core/base/error.h"
#include "core/base/quantile.h"
#include "core/base/random.h"
#include "sim/calibration/fit.h"
#include "sim/cost/roofline.h"

namespace doublep::sim {
namespace {

constexpr int kEstimate = static_cast<int>(Stage::kEstimate),
              kSelect = static_cast<int>(Stage::kSelect),
              kAttend = static_cast<int>(Stage::kAttend);

bool is_dense(const MeasuredPoint& p) {
  return p.search != Search::kZone && !(p.stage_bytes[kEstimate] > 0) &&
         !(p.stage_bytes[kSelect] > 0);
}

// Bytes of a stage as the cost model sees them: whole tiles, the fullest block's share.
double tiled_bytes(const Hardware& hardware, const MeasuredPoint& p, int stage) {
  const int pairs = p.batch * p.kv_heads;
  AttentionOptions options;
  options.token_bytes = 4.0 * p.head_dim;
  const std::vector<double> heads(pairs, p.stage_bytes[stage] / pairs);
  return p.stage_bytes[stage] * imbalance(heads, static_cast<int>(hardware.processors.value),
                                          Balance::kSplit, tile_bytes(options));
}

struct Samples {
  std::vector<double> work, seconds;
  void add(double w, double t) {
    if (w > 0 && t > 0) work.push_back(w), seconds.push_back(t);
  }
  bool empty() const { return work.empty(); }
};

struct SearchSamples {
  std::vector<std::array<double, 3>> terms;  // 1, turns, load
  std::vector<double> seconds;
  /// What the time holds beside the search is taken off: the part of the estimate that was timed
  /// with it, or of a step without a search its bytes.
  void add(const Hardware& hardware, const MeasuredPoint& p, const Efficiency& e) {
    const bool zone = p.search == Search::kZone;
    if (!zone && (!(p.stage_seconds[kSelect] > 0) || !(p.select_items > 0))) return;
    const double whole = zone ? p.seconds : p.stage_seconds[kSelect];
    const double reads = zone ? tiled_bytes(hardware, p, kAttend) / e[Access::kSparse].share
                              : p.late_estimate_bytes / e[Access::kSummary].share;
    const double rest = whole - reads / hardware.bandwidth();
    if (rest <= 0) return;  // no time is left that a search could have taken
    const int pairs = p.batch * p.kv_heads;
    const double turns = search_turns(hardware, p.search, p.select_items, pairs, p.group_size);
    terms.push_back(
        {1, turns, search_load(hardware, p.search, p.select_items, pairs, p.group_size)});
    seconds.push_back(rest);
  }
  SearchFit fit() const {
    const auto found = fit_terms(terms, seconds);
    return {found[0], found[1], found[2] > 0 ? 1 / found[2] : 0};
  }
};

void fit_access(const Hardware& hardware, const Samples& samples, KernelFit& fit) {
  if (samples.empty()) return;
  const Line line = fit_line(samples.work, samples.seconds);
  fit.latency = line.latency;
  if (line.slope > 0) fit.share = 1 / (line.slope * hardware.bandwidth());
}

Efficiency fit_efficiency(const Hardware& hardware,
                          const std::vector<const MeasuredPoint*>& points) {
  Efficiency e;
  Samples dense, sparse, summary;
  SearchSamples searches[kNumSearches];
  for (const MeasuredPoint* p : points) {
    if (p->search == Search::kZone) continue;
    const bool whole = is_dense(*p);
    // A policy of one stage needs no breakdown: its step is its attend.
    (whole ? dense : sparse)
        .add(tiled_bytes(hardware, *p, kAttend), whole ? p->seconds : p->stage_seconds[kAttend]);
    summary.add(tiled_bytes(hardware, *p, kEstimate) *
                    (1 - p->late_estimate_bytes / std::max(1.0, p->stage_bytes[kEstimate])),
                p->stage_seconds[kEstimate]);
  }
  fit_access(hardware, dense, e[Access::kDense]);
  fit_access(hardware, sparse.empty() ? dense : sparse, e[Access::kSparse]);
  fit_access(hardware, summary.empty() ? dense : summary, e[Access::kSummary]);
  for (const MeasuredPoint* p : points) searches[static_cast<int>(p->search)].add(hardware, *p, e);
  for (int k = 0; k < kNumSearches; ++k)
    if (!searches[k].seconds.empty()) e.searches[k] = searches[k].fit();
  double build_top = 0, build_bottom = 0;  // relative least squares through the origin
  for (const MeasuredPoint* p : points) {
    if (!(p->build_seconds > 0) || !(p->build_flops > 0)) continue;
    const double ideal = p->build_flops / hardware.flops("bf16");
    build_top += ideal / p->build_seconds;
    build_bottom += ideal * ideal / (p->build_seconds * p->build_seconds);
  }
  if (build_bottom > 0) e.build_share = build_bottom / build_top;
  return e;
}

}  // namespace

double predict(const Machine& machine, const MeasuredPoint& p) {
  const int pairs = p.batch * p.kv_heads;
  HeadWork each;
  for (int s : {kEstimate, kAttend})
    if (p.stage_bytes[s] > 0) each.bytes[s] = p.stage_bytes[s] / pairs;
  if (p.select_items > 0) each.bytes[kSelect] = 4 * p.select_items * p.group_size;
  const std::vector<HeadWork> heads(pairs, each);
  AttentionOptions options;
  options.dense = is_dense(p);
  options.search = p.search;
  options.group_size = p.group_size;
  options.token_bytes = 4.0 * p.head_dim;
  return attention_time(machine, heads, options).seconds();
}

ErrorSummary summarize(const std::vector<Prediction>& predictions, bool held_out) {
  std::vector<double> errors;
  for (const Prediction& p : predictions)
    if (p.held_out == held_out) errors.push_back(std::abs(p.error()));
  ErrorSummary summary;
  summary.points = static_cast<int>(errors.size());
  if (errors.empty()) return summary;
  summary.median = quantile(errors, 0.5), summary.worst = quantile(errors, 1);
  return summary;
}

Coverage Calibration::coverage() const {
  Coverage c;
  for (const Prediction& p : predictions) {
    if (!c.calibrated) c.context_low = c.context_high = p.point.context;
    c.calibrated = true;
    c.context_low = std::min(c.context_low, p.point.context);
    c.context_high = std::max(c.context_high, p.point.context);
    c.batch_high = std::max(c.batch_high, p.point.batch);
    c.searches[static_cast<int>(p.point.search)] = true;
  }
  return c;
}

Calibration calibrate(const Hardware& hardware, std::vector<MeasuredPoint> points,
                      const HoldOut& hold_out) {
  if (points.empty()) fail_input("calibration: no measured points for ", hardware.title);
  std::sort(points.begin(), points.end(), [](const MeasuredPoint& a, const MeasuredPoint& b) {
    return std::tie(a.policy, a.label, a.context, a.batch) <
           std::tie(b.policy, b.label, b.context, b.batch);
  });
  Calibration result;
  for (MeasuredPoint& p : points) {
    const bool held = is_held_out(p.label, p.context, p.batch, hold_out);
    result.predictions.push_back({std::move(p), 0, held});
  }
  std::vector<const MeasuredPoint*> fitted;
  for (const Prediction& p : result.predictions)
    if (!p.held_out) fitted.push_back(&p.point);
  result.efficiency = fit_efficiency(hardware, fitted);
  const Machine machine{hardware, result.efficiency};
  for (Prediction& p : result.predictions) p.predicted = predict(machine, p.point);
  result.fitted = summarize(result.predictions, false);
  result.held_out = summarize(result.predictions, true);
  return result;
}

bool is_held_out(std::string_view label, std::int64_t context, int batch, const HoldOut& rule) {
  if (rule.every <= 1) return false;
  // One character at a time: the same number whatever the machine's byte order.
  std::uint64_t hash = label.size();
  for (const char c : label) hash = splitmix64(hash ^ static_cast<unsigned char>(c));
  hash = splitmix64(hash ^ static_cast<std::uint64_t>(context));
  hash = splitmix64(hash ^ static_cast<std::uint64_t>(batch));
  return hash % static_cast<std::uint64_t>(rule.every) == 0;
}

}  // namespace doublep::sim
