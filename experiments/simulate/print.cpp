#include <cmath>
#include <cstdio>
#include <map>
#include <ostream>
#include <tuple>

#include "core/base/text.h"
#include "experiments/simulate/simulation.h"

namespace doublep::sim {
namespace {

template <class... Args>
std::string form(const char* format, Args... args) {
  char text[256];
  std::snprintf(text, sizeof text, format, args...);
  return text;
}

// Requests of one output token have no time between tokens.
std::string tpot(const ServingReport& r) {
  return std::isnan(r.tpot_p50) ? "none" : form("%.1f / %.1f", 1e3 * r.tpot_p50, 1e3 * r.tpot_p99);
}

void print_calibration(const Calibration& c, std::ostream& out) {
  out << "calibration: share of read bandwidth, latency";
  for (Access a : {Access::kDense, Access::kSparse, Access::kSummary}) {
    const KernelFit& fit = c.efficiency[a];
    out << "; " << name_of(a) << form(" %.2f, %.1f us", fit.share, fit.latency * 1e6);
  }
  out << form(
      "\n  fitted on %d points (median error %.1f %%, worst %.1f %%); on %d held-out points "
      "median %.1f %%, worst %.1f %%\n",
      c.fitted.points, 100 * c.fitted.median, 100 * c.fitted.worst, c.held_out.points,
      100 * c.held_out.median, 100 * c.held_out.worst);
}

void print_end_to_end(const EndToEnd& e, std::ostream& out) {
  out << form(
      "end to end, %s with %d layers: fitted on %d steps (median error %.1f %%, worst %.1f %%); on "
      "%d held-out steps median %.1f %%, worst %.1f %%\n",
      printable(e.measured.model).c_str(), e.measured.layers, e.fitted.points,
      100 * e.fitted.median, 100 * e.fitted.worst, e.held_out.points, 100 * e.held_out.median,
      100 * e.held_out.worst);
  out << form("%-64s %9s %5s %10s %10s %8s\n", "policy", "context", "batch", "measured",
              "predicted", "error");
  for (const StepPrediction& s : e.steps) {
    const MeasuredPoint& p = s.step.attention;
    out << form("%-64.64s %9lld %5d %7.3f ms %7.3f ms %+6.1f %%%s\n", printable(p.label).c_str(),
                static_cast<long long>(p.context), p.batch, 1e3 * p.seconds, 1e3 * s.predicted,
                100 * (s.predicted / p.seconds - 1), s.held_out ? " held out" : "");
  }
}

using PointKey = std::tuple<std::string, std::string, std::string, std::string, std::string, int,
                            std::int64_t, int, int, double>;
PointKey key_of(const Curve& c, const PointResult& p) {
  return {c.study,
          c.hardware,
          c.what_if,
          c.model,
          c.workload,
          p.point.batch,
          p.point.context,
          p.point.tensor_parallel,
          static_cast<int>(p.point.place),
          p.kv_bytes};
}

}  // namespace

void print_simulation(const SimulationResult& result, std::ostream& out) {
  if (result.calibration) print_calibration(*result.calibration, out);
  if (result.end_to_end) print_end_to_end(*result.end_to_end, out);
  std::map<PointKey, double> dense;
  for (const Curve& c : result.curves)
    if (PolicyRegistry::instance().find(c.policy).traits.dense)
      for (const PointResult& p : c.points) dense.emplace(key_of(c, p), p.cost.seconds);
  std::string heading;
  for (const Curve& c : result.curves) {
    const std::string here = c.study + ": " + c.model + " on " + c.hardware +
                             (c.what_if.empty() ? "" : " (" + c.what_if + ")") + ", workload " +
                             c.workload;
    if (here != heading) {
      heading = here;
      out << "\n" << heading << "\n";
      if (!c.points.empty())
        out << form("%-34s %9s %5s %10s %10s %8s  %-12s %s\n", "policy", "context", "batch",
                    "ms/token", "attention", "dense/it", "bound", "extrapolated");
    }
    for (const PointResult& p : c.points) {
      const auto base = dense.find(key_of(c, p));
      const std::string ratio =
          base == dense.end() ? "" : form("%.2fx", base->second / p.cost.seconds);
      out << form("%-34.34s %9lld %5d %10.3f %10.3f %8s  %-12s ", c.label.c_str(),
                  static_cast<long long>(p.point.context), p.point.batch, 1e3 * p.cost.seconds,
                  1e3 * p.cost.attention, ratio.c_str(), std::string(name_of(p.cost.bound)).c_str())
          << (p.cost.fits ? "" : "does not fit; ") << text_of(p.cost.extrapolated) << "\n";
    }
    for (const CrossoverResult& x : c.crossover)
      out << form("%-34.34s batch %5d, %5.3f bytes a number: ", c.label.c_str(), x.point.batch,
                  x.kv_bytes)
          << (x.found.context > 0 ? concat("beats dense from ", x.found.context, " tokens on")
                                  : concat("never beats dense up to ", x.to, " tokens"))
          << (x.found.context > x.found.largest ? concat("; fits up to ", x.found.largest) : "")
          << "; " << text_of(x.found.extrapolated) << "\n";
    for (const AnswerResult& a : c.answers)
      out << form(
                 "%-34.34s %9lld %5d %10.0f tokens: %9.3f s (prefill %.3f, index %.3f, steps %.3f "
                 "of the batch)  ",
                 c.label.c_str(), static_cast<long long>(a.point.context), a.point.batch,
                 a.ratio * static_cast<double>(a.output), a.cost.seconds, a.cost.prefill,
                 a.cost.build, a.cost.steps)
          << (a.cost.fits ? "" : "does not fit; ") << text_of(a.cost.extrapolated) << "\n";
    for (const ServingResult& s : c.serving) {
      if (s.report.served.empty()) {
        out << form("%-34.34s %6.2f req/s  rejected: none of the %d requests fits the memory\n",
                    c.label.c_str(), s.rate, s.requests);
        continue;
      }
      out << form(
                 "%-34.34s %6.2f req/s %8.1f tok/s  TPOT %s ms (p50, p99)  TTFT %.2f / %.2f s  "
                 "running %d at most  ",
                 c.label.c_str(), s.rate, s.report.tokens_per_second, tpot(s.report).c_str(),
                 s.report.ttft_p50, s.report.ttft_p99, s.report.peak_running)
          << (s.report.rejected > 0
                  ? concat("rejected: ", s.report.rejected, " of ", s.requests, "; ")
                  : "")
          << text_of(s.extrapolated) << "\n";
    }
  }
}

}  // namespace doublep::sim
