#include "experiments/inspect/report.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "core/base/error.h"
#include "core/base/output.h"
#include "core/base/text.h"

namespace doublep {
namespace {

struct Column {
  const char* title;  // also the CSV's
  double HeadStatistics::*value;
  int digits;
};
constexpr Column kColumns[] = {
    {"tokens_80", &HeadStatistics::tokens_80, 1},
    {"tokens_95", &HeadStatistics::tokens_95, 1},
    {"tokens_99", &HeadStatistics::tokens_99, 1},
    {"sink_mass", &HeadStatistics::sink_mass, 4},
    {"window_mass", &HeadStatistics::window_mass, 4},
    {"max_weight", &HeadStatistics::max_weight, 4},
    {"effective", &HeadStatistics::effective_tokens, 1},
    {"jensen", &HeadStatistics::jensen, 3},
};

}  // namespace

void print_summary(const Trace& trace, std::ostream& out) {
  const TraceInfo& info = trace.info();
  out << printable(info.path) << '\n'
      << "  model:   " << printable(info.model) << '\n'
      << "  task:    " << printable(info.task) << '\n'
      << "  layers:  ";
  for (std::size_t i = 0; i < info.layers.size(); ++i) out << (i ? ", " : "") << info.layers[i];
  for (const auto& [layer, what] : info.other_attention)
    out << "\n           " << layer << " has " << what << ", which is not supported";
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
  constexpr int kWidth = 13;
  std::ostringstream text;  // keeps the stream's own format as it was
  text << "layer  head";
  for (const Column& c : kColumns) text << std::setw(kWidth) << c.title;
  text << '\n' << std::fixed;
  const auto cell = [&](const Column& c, double value) {
    if (std::isnan(value))
      text << std::setw(kWidth) << "-";
    else
      text << std::setw(kWidth) << std::setprecision(c.digits) << value;
  };
  for (const HeadStatistics& s : heads) {
    text << std::setw(5) << s.layer << std::setw(6) << s.head;
    for (const Column& c : kColumns) cell(c, s.*c.value);
    text << '\n';
  }
  text << "       mean";
  for (const Column& c : kColumns) {
    double sum = 0;
    for (const HeadStatistics& s : heads) sum += s.*c.value;
    cell(c, sum / static_cast<double>(heads.size()));
  }
  out << text.str() << '\n';
}

void write_inspect_csv(const std::vector<HeadStatistics>& heads, const std::string& path) {
  std::ostringstream file;
  file << "layer,head,kv_head";
  for (const Column& c : kColumns) file << ',' << c.title;
  file << '\n' << std::setprecision(17);
  for (const HeadStatistics& s : heads) {
    file << s.layer << ',' << s.head << ',' << s.kv_head;
    for (const Column& c : kColumns) {
      file << ',';
      if (!std::isnan(s.*c.value)) file << s.*c.value;
    }
    file << '\n';
  }
  write_output(path, file.str());
}

std::vector<int> parse_layers(const std::string& text, const TraceInfo& info) {
  if (text.empty()) return info.layers;
  std::vector<int> layers;
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
