#include <algorithm>
#include <cmath>
#include <iomanip>
#include <set>
#include <sstream>

#include "core/base/error.h"
#include "core/base/text.h"
#include "experiments/gate/gate.h"

namespace doublep {
namespace {

bool beyond(double before, double after, const Tolerance& t) {
  if (std::isnan(before) || std::isnan(after)) return std::isnan(before) != std::isnan(after);
  if (before == after) return false;
  if (t.exact || std::isinf(before) || std::isinf(after)) return true;
  return std::abs(after - before) > t.absolute + t.relative * std::abs(before);
}

bool counts(double before, double after, const Tolerance& t) {
  if (t.worse == Tolerance::Worse::kEither || !(before == before) || !(after == after)) return true;
  return t.worse == Tolerance::Worse::kHigher ? after > before : after < before;
}

// Lines of one configuration that the other does not have; paths do not count.
std::vector<std::string> missing_lines(const std::string& from, const std::string& in) {
  const auto lines = [](const std::string& text) {
    std::vector<std::string> out;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
      if (line.rfind("name: ", 0) == 0) continue;
      if (const auto hash = line.find("hash: "); hash != std::string::npos)
        line = "trace " + line.substr(hash);
      out.push_back(line);
    }
    return out;
  };
  const auto there = lines(in);
  std::vector<std::string> out;
  for (const std::string& line : lines(from))
    if (std::find(there.begin(), there.end(), line) == there.end()) out.push_back(line);
  return out;
}

// The part of a long line around the place where it departs from another.
std::string excerpt(const std::string& line, const std::string& other) {
  constexpr std::size_t kBefore = 40, kLength = 110;
  const std::size_t differs =
      std::mismatch(line.begin(), line.end(), other.begin(), other.end()).first - line.begin();
  const std::size_t first = line.size() <= kLength || differs < kBefore ? 0 : differs - kBefore;
  const std::string middle = line.substr(first, kLength);
  return (first > 0 ? "..." : "") + middle + (first + kLength < line.size() ? "..." : "");
}

void name_differences(const Baseline& now, const Baseline& baseline,
                      std::vector<std::string>& obstacles) {
  constexpr std::size_t kMost = 8;
  const auto before = missing_lines(baseline.config, now.config);
  const auto after = missing_lines(now.config, baseline.config);
  for (std::size_t i = 0; i < std::max(before.size(), after.size()); ++i) {
    if (i == kMost) {
      obstacles.push_back(concat("... and ", std::max(before.size(), after.size()) - i,
                                 " more lines of the configuration"));
      break;
    }
    const std::string b = i < before.size() ? before[i] : "", a = i < after.size() ? after[i] : "";
    if (!b.empty()) obstacles.push_back("only in the baseline: " + excerpt(b, a));
    if (!a.empty()) obstacles.push_back("only in the result:   " + excerpt(a, b));
  }
}

bool has_every_metric(const MetricValues& values) {
  const auto& all = gate_metrics();
  return values.size() == all.size() && std::all_of(all.begin(), all.end(), [&](const auto& m) {
           return values.count(m.first) > 0;
         });
}

// A baseline that was cut short must not pass for one that agrees.
void check_shape(const BaselineRun& before, const BaselineRun& after, const std::string& name,
                 std::vector<std::string>& obstacles) {
  for (const auto& [place, values] : after.heads)
    if (!before.heads.count(place))
      obstacles.push_back(concat("the baseline lacks rows: ", name, " layer ", place.first,
                                 " head ", place.second));
  for (const auto& [place, values] : before.heads)
    if (!has_every_metric(values)) {
      obstacles.push_back(concat("the baseline lacks metrics, or has unknown ones: ", name,
                                 " layer ", place.first, "; write it anew with --update"));
      break;
    }
}

}  // namespace

int Comparison::exit_code() const {
  if (!obstacles.empty()) return 2;
  return std::any_of(moves.begin(), moves.end(), [](const Move& m) { return m.fails; }) ? 1 : 0;
}

Comparison compare(const Baseline& now, const Baseline& baseline) {
  Comparison result;
  if (now.config_hash != baseline.config_hash) {
    result.obstacles.push_back("another trace or configuration (config_hash " + now.config_hash +
                               ", the baseline has " + baseline.config_hash + ")");
    name_differences(now, baseline, result.obstacles);
  }
  TraceNames names;
  for (const Baseline* one : {&now, &baseline})
    for (const auto& [key, run] : one->runs) names.add(run.trace_name, run.trace_hash);
  const auto trace_of = [&](const BaselineRun& run) {
    return names.of(run.trace_name, run.trace_hash);
  };
  const auto name_of = [&](const BaselineRun& run) { return trace_of(run) + " " + run.label; };
  // A changed configuration changes every run's key: then the lines above say it all.
  const bool same_config = result.obstacles.empty();
  for (const auto& [key, run] : baseline.runs)
    if (same_config && !now.runs.count(key))
      result.obstacles.push_back("missing run: " + name_of(run));
  for (const auto& [key, run] : now.runs)
    if (same_config && !baseline.runs.count(key))
      result.obstacles.push_back("the baseline lacks the run: " + name_of(run));
  for (const auto& [key, run] : baseline.runs)
    if (const auto there = now.runs.find(key); same_config && there != now.runs.end())
      check_shape(run, there->second, name_of(run), result.obstacles);
  if (!result.obstacles.empty()) return result;
  for (const auto& [key, before] : baseline.runs) {
    const BaselineRun& after = now.runs.at(key);
    for (const auto& [place, values] : before.heads) {
      const auto there = after.heads.find(place);
      if (there == after.heads.end()) {
        result.obstacles.push_back(concat("missing rows: ", name_of(before), " layer ", place.first,
                                          " head ", place.second));
        continue;
      }
      for (const auto& [metric, value] : values) {
        ++result.compared;
        const auto found = there->second.find(metric);
        const double x = found == there->second.end() ? std::nan("") : found->second;
        const Tolerance& tolerance = baseline.tolerances.at(metric);
        if (beyond(value, x, tolerance))
          result.moves.push_back({trace_of(before), before.label, metric, place.first, place.second,
                                  value, x, counts(value, x, tolerance)});
      }
    }
  }
  std::stable_sort(result.moves.begin(), result.moves.end(), [](const Move& a, const Move& b) {
    return std::tie(b.fails, a.trace, a.label, a.layer, a.head) <
           std::tie(a.fails, b.trace, b.label, b.layer, b.head);
  });
  return result;
}

void print(const Comparison& comparison, std::size_t limit, std::ostream& out) {
  if (!comparison.obstacles.empty()) {
    out << "cannot compare:\n";
    for (const std::string& line : comparison.obstacles) out << "  " << printable(line) << "\n";
    return;
  }
  if (!comparison.moves.empty()) {
    std::size_t width = 6, trace_width = 5;
    for (const Move& m : comparison.moves) {
      width = std::max(width, printable(m.label).size());
      trace_width = std::max(trace_width, printable(m.trace).size());
    }
    const auto row = [&](const auto& verdict, const auto& trace, const auto& label,
                         const auto& layer, const auto& head, const auto& metric,
                         const auto& before, const auto& after, const auto& change) {
      out << std::left << std::setw(11) << verdict << std::setw(static_cast<int>(trace_width) + 2)
          << trace << std::setw(static_cast<int>(width) + 2) << label << std::right << std::setw(5)
          << layer << std::setw(6) << head << "  " << std::left << std::setw(22) << metric
          << std::right << std::setw(16) << before << std::setw(16) << after << std::setw(12)
          << change << "\n";
    };
    out << std::setprecision(9);
    row("", "trace", "policy", "layer", "head", "metric", "baseline", "now", "change");
    for (std::size_t i = 0; i < std::min(limit, comparison.moves.size()); ++i) {
      const Move& m = comparison.moves[i];
      std::ostringstream change;
      change << std::showpos << std::setprecision(3)
             << (m.before != 0 ? 100 * (m.after - m.before) / std::abs(m.before) : INFINITY)
             << " %";
      row(m.fails ? "REGRESSION" : "moved", printable(m.trace), printable(m.label), m.layer, m.head,
          m.metric, m.before, m.after, change.str());
    }
    if (comparison.moves.size() > limit)
      out << "... and " << comparison.moves.size() - limit << " more (--limit shows them)\n";
  }
  const auto failed = std::count_if(comparison.moves.begin(), comparison.moves.end(),
                                    [](const Move& m) { return m.fails; });
  out << comparison.compared << " values compared, " << comparison.moves.size() << " moved, "
      << failed << " of them regressions\n";
}

}  // namespace doublep
