#include "experiments/inspect/report.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iomanip>
#include <set>
#include <sstream>

#include "core/base/error.h"
#include "core/base/output.h"
#include "core/base/text.h"
#include "experiments/inspect/head_kinds.h"

namespace doublep {
namespace {

struct Column {
  const char* name;   // in the CSV
  const char* title;  // on the terminal, where a table keeps within 80 columns; null: not there
  double HeadStatistics::*value;
  int digits, width;
};
constexpr Column kMasses[] = {
    {"tokens_80", "80 %", &HeadStatistics::tokens_80, 1, 9},
    {"tokens_95", "95 %", &HeadStatistics::tokens_95, 1, 9},
    {"tokens_99", "99 %", &HeadStatistics::tokens_99, 1, 10},
    {"sink_mass", "sink", &HeadStatistics::sink_mass, 4, 8},
    {"window_mass", "window", &HeadStatistics::window_mass, 4, 8},
    {"max_weight", "max", &HeadStatistics::max_weight, 4, 8},
    {"effective", "effect.", &HeadStatistics::effective_tokens, 1, 9},
    {"jensen", "jensen", &HeadStatistics::jensen, 3, 8},
};
constexpr Column kKinds[] = {
    {"logit_variance", "spread", &HeadStatistics::logit_variance, 2, 7},
    {"key_rank", "keys", &HeadStatistics::key_rank, 3, 6},
    {"query_rank", "query", &HeadStatistics::query_rank, 1, 6},
    {"key_within", nullptr, &HeadStatistics::key_within, 3, 7},
    {"query_within", "within", &HeadStatistics::query_within, 3, 7},
    {"drift", "drift", &HeadStatistics::drift, 3, 6},
    {"log_error_jensen", "jensen", &HeadStatistics::log_error_jensen, 3, 7},
    {"log_error_second_order", "second", &HeadStatistics::log_error_second_order, 3, 7},
    {"log_error_pooled", "pooled", &HeadStatistics::log_error_pooled, 3, 7},
};

// A line a head, and the means; `last` adds to the end of a line what is no number.
template <std::size_t n>
void print_columns(const Column (&columns)[n], const std::vector<HeadStatistics>& heads,
                   const std::string& last_title,
                   const std::function<std::string(const HeadStatistics&)>& last,
                   std::ostream& out) {
  std::ostringstream text;  // keeps the stream's own format as it was
  const auto line = [&](const HeadStatistics& s) {
    for (const Column& c : columns) {
      if (!c.title) continue;
      text << std::setw(c.width);
      if (std::isnan(s.*c.value))
        text << "-";
      else
        text << std::setprecision(c.digits) << s.*c.value;
    }
    text << last(s) << '\n';
  };
  text << "layer head" << std::fixed;
  for (const Column& c : columns)
    if (c.title) text << std::setw(c.width) << c.title;
  text << last_title << '\n';
  HeadStatistics mean;
  for (const Column& c : columns) mean.*c.value = 0;
  for (const HeadStatistics& s : heads) {
    text << std::setw(5) << s.layer << std::setw(5) << s.head;
    line(s);
    for (const Column& c : columns) mean.*c.value += s.*c.value / static_cast<double>(heads.size());
  }
  text << "      mean";
  line(mean);
  out << text.str();
}

}  // namespace

void print_summary(const Trace& trace, std::ostream& out) {
  const TraceInfo& info = trace.info();
  out << printable(info.path) << '\n'
      << "  model:   " << printable(info.model) << '\n'
      << "  task:    " << printable(info.task) << '\n'
      << "  layers:  ";
  for (std::size_t i = 0; i < info.layers.size(); ++i) out << (i ? ", " : "") << info.layers[i];
  for (const auto& [layer, what] : info.other_attention)
    out << "\n           " << layer << " has " << what << ", which is not supported: left out";
  out << "\n  heads:   " << info.num_query_heads << " query, " << info.num_kv_heads << " KV, of "
      << info.head_dim;
  if (info.value_dim != info.head_dim) out << ", values of " << info.value_dim;
  out << '\n'
      << "  tokens:  " << info.num_tokens << "; " << info.num_steps() << " steps at positions "
      << info.positions.front() << " .. " << info.positions.back();
  if (info.prefill_queries > 0)
    out << "; queries of the prompt's last " << info.prefill_queries << " positions";
  out << '\n'
      << "  scale:   " << info.softmax_scale << "; seed " << info.seed << "; content "
      << trace.content_hash() << '\n';
}

void print_table(const std::vector<HeadStatistics>& heads, std::ostream& out) {
  print_columns(
      kMasses, heads, "", [](const HeadStatistics&) { return std::string(); }, out);
}

void print_kinds(const std::vector<HeadStatistics>& heads, std::ostream& out) {
  const auto padded = [](std::string best, std::string_view kind) {
    std::ostringstream cell;
    best = best.substr(0, best.find('_'));  // as in the columns' titles
    cell << "  " << std::left << std::setw(6) << (best.empty() ? "-" : best) << ' ' << std::setw(8)
         << (kind.empty() ? "-" : kind);
    return cell.str();
  };
  std::set<int> by_steps;
  std::int64_t positions = 0;
  for (const HeadStatistics& s : heads) {
    if (s.prompt_positions == 0) by_steps.insert(s.layer);
    positions = std::max(positions, s.prompt_positions);
  }
  out << "  spread: variance of a cluster's logits, by mass; no estimate holds far above 4\n"
         "  keys: effective rank of their covariance within clusters, over head_dim;\n"
         "    1 is isotropic. query: directions that queries use, effective rank\n"
         "  within: share of the logits' variance that clusters leave inside\n"
         "  drift: of the query metric, from before the steps to them; 0 same, 1 apart\n"
         "  jensen, second, pooled: mean |log error| of cluster masses, by mass; best: the\n"
         "    simplest of the lowest\n"
         "  kind: what double_p's head_kinds: auto takes it for, by the prompt's queries\n";
  if (positions > 0)
    out << "  queries before the steps: of the prompt's last " << positions << " positions\n";
  if (!by_steps.empty()) {
    out << "  queries before the steps: no prefill_queries";
    if (positions > 0) {
      out << " in layer";
      for (int layer : by_steps) out << ' ' << layer;
    }
    out << ", the first half of the\n    steps stands in, and drift is to the other half\n";
  }
  out << '\n';
  print_columns(
      kKinds, heads, padded("best", "kind"),
      [&](const HeadStatistics& s) { return padded(best_estimator(s), s.kind); }, out);
}

void write_inspect_csv(const std::vector<HeadStatistics>& heads, bool kinds,
                       const std::string& path) {
  std::ostringstream file;
  file << "layer,head,kv_head";
  for (const Column& c : kMasses) file << ',' << c.name;
  if (kinds) {
    for (const Column& c : kKinds) file << ',' << c.name;
    file << ",best,kind,prompt_positions";
  }
  file << '\n' << std::setprecision(17);
  const auto cell = [&](double value) {
    file << ',';
    if (!std::isnan(value)) file << value;
  };
  for (const HeadStatistics& s : heads) {
    file << s.layer << ',' << s.head << ',' << s.kv_head;
    for (const Column& c : kMasses) cell(s.*c.value);
    if (kinds) {
      for (const Column& c : kKinds) cell(s.*c.value);
      file << ',' << best_estimator(s) << ',' << s.kind << ',' << s.prompt_positions;
    }
    file << '\n';
  }
  write_output(path, file.str());
}

std::vector<int> parse_layers(const std::string& text, const TraceInfo& info) {
  std::vector<int> layers;
  if (text.empty()) {
    for (int layer : info.layers)
      if (!info.other_attention.count(layer)) layers.push_back(layer);
    if (layers.empty())
      fail_input(info.path, ": no layer is plain softmax attention over all visible keys (layers/",
                 info.layers.front(), " has ", info.other_attention.begin()->second,
                 "); record a trace with layers that are");
    return layers;
  }
  std::istringstream items(text);
  for (std::string item; std::getline(items, item, ',');) {
    item.erase(std::remove(item.begin(), item.end(), ' '), item.end());
    const auto dash = item.find('-', 1);
    const auto first = parse_integer(item.substr(0, dash));
    const auto last = dash == std::string::npos ? first : parse_integer(item.substr(dash + 1));
    if (!first || !last || *last < *first)
      fail_input("layers: '", item, "' is neither a layer nor a range; write for example 0,2-4");
    // A range takes what the trace holds of it; a layer named on its own must be there.
    for (int layer : info.layers)
      if (layer >= *first && layer <= *last) layers.push_back(layer);
    if (!std::any_of(info.layers.begin(), info.layers.end(),
                     [&](int layer) { return layer >= *first && layer <= *last; }))
      fail_input("layers: ", info.path, " holds nothing of '", item,
                 "'; see inspect without --layers");
  }
  std::sort(layers.begin(), layers.end());
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  return layers;
}

}  // namespace doublep
