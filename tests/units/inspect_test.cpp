// What inspect says of a trace, against hand-computed and independently known figures.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "experiments/inspect/head_kinds.h"
#include "experiments/inspect/report.h"
#include "experiments/inspect/statistics.h"
#include "tests/catch.h"
#include "tests/support/run_policy.h"

namespace doublep {
namespace {

using test::needle_4k;
using test::shipped_trace;

std::vector<HeadStatistics> inspect_all(const Trace& trace, const InspectOptions& options = {}) {
  std::vector<HeadStatistics> heads;
  for (int layer : trace.info().layers)
    for (const auto& head : inspect_layer(trace, layer, options)) heads.push_back(head);
  return heads;
}

double mean(const std::vector<HeadStatistics>& heads, double HeadStatistics::*member) {
  double sum = 0;
  for (const auto& head : heads) sum += head.*member;
  return sum / static_cast<double>(heads.size());
}

TEST_CASE("statistics of one softmax, by hand", "[inspect]") {
  InspectOptions options;
  options.sink = 1, options.window = 2;
  const std::vector<double> weights = {0.5, 0.125, 0.125, 0.25};
  const HeadStatistics s = statistics_of(weights.data(), 4, options);
  CHECK(s.tokens_80 == 3);
  CHECK(s.tokens_95 == 4);
  CHECK(s.sink_mass == 0.5);
  CHECK(s.window_mass == 0.375);
  CHECK(s.max_weight == 0.5);
  CHECK(s.effective_tokens == Approx(std::pow(2.0, 1.75)));
  options.window = 10;  // more than there is: all but the sink
  CHECK(statistics_of(weights.data(), 4, options).window_mass == 0.5);
  options.sink = 10;
  CHECK(statistics_of(weights.data(), 4, options).sink_mass == 1);
  CHECK(statistics_of(weights.data(), 4, options).window_mass == 0);
  const double one = 1;
  CHECK(statistics_of(&one, 1, options).tokens_99 == 1);
}

TEST_CASE("needle-4k has the masses that are known of it", "[inspect]") {
  const Trace trace = Trace::open(needle_4k());
  InspectOptions options;
  options.tokens_per_cluster = 16;
  const auto heads = inspect_all(trace, options);
  REQUIRE(heads.size() == 16);
  CHECK(mean(heads, &HeadStatistics::tokens_95) == Approx(372.631).epsilon(1e-5));
  CHECK(mean(heads, &HeadStatistics::sink_mass) + mean(heads, &HeadStatistics::window_mass) ==
        Approx(0.624103).epsilon(1e-5));
  CHECK(mean(heads, &HeadStatistics::jensen) == Approx(0.29).margin(0.01));
  for (const auto& head : heads) {
    CHECK(head.tokens_80 <= head.tokens_95);
    CHECK(head.jensen <= 1 + 1e-9);
    CHECK(head.kv_head == head.head / 4);
  }
}

TEST_CASE("the shipped trace has the masses that numpy finds in it", "[inspect]") {
  const auto heads = inspect_all(Trace::open(shipped_trace()));
  REQUIRE(heads.size() == 24);
  CHECK(mean(heads, &HeadStatistics::tokens_95) == Approx(1019.478515625).epsilon(1e-9));
  CHECK(mean(heads, &HeadStatistics::sink_mass) + mean(heads, &HeadStatistics::window_mass) ==
        Approx(0.49920732960).epsilon(1e-9));
}

TEST_CASE("inspect does not depend on the number of threads", "[inspect]") {
  const Trace trace = Trace::open(needle_4k());
  InspectOptions options;
  options.max_steps = 3;
  const int before = num_threads();
  set_num_threads(1);
  const auto one = inspect_all(trace, options);
  set_num_threads(4);
  const auto four = inspect_all(trace, options);
  set_num_threads(before);
  for (std::size_t i = 0; i < one.size(); ++i) {
    CHECK(one[i].effective_tokens == four[i].effective_tokens);
    CHECK(one[i].tokens_99 == four[i].tokens_99);
    CHECK(std::isnan(one[i].jensen));
  }
}

TEST_CASE("lists of layers", "[inspect]") {
  TraceInfo info;
  info.path = "a.h5", info.layers = {0, 2, 5, 7};
  CHECK(parse_layers("", info) == info.layers);
  CHECK(parse_layers("5, 0", info) == std::vector<int>{0, 5});
  CHECK(parse_layers("1-5,2", info) == std::vector<int>{2, 5});
  for (const char* bad : {"3", "x", "5-", "5-2", "2,,5", "1.5"})
    CHECK_THROWS_AS(parse_layers(bad, info), InputError);
  info.other_attention[2] = "sliding_window = 8";
  CHECK(parse_layers("", info) == std::vector<int>{0, 5, 7});
  CHECK(parse_layers("2", info) == std::vector<int>{2});  // whoever names it is told why not
  for (int layer : {0, 5, 7}) info.other_attention[layer] = "logit_softcap = 50";
  CHECK_THROWS_AS(parse_layers("", info), InputError);
}

TEST_CASE("tables are aligned, within 80 columns, and the CSV holds every head") {
  std::vector<HeadStatistics> heads(3);
  heads[0].layer = 127, heads[0].head = 63;
  heads[0].tokens_80 = heads[0].tokens_95 = heads[0].tokens_99 = heads[0].effective_tokens =
      1048576;
  heads[1].logit_variance = 123.456, heads[1].drift = 1;
  for (const auto error : kLogErrors) heads[1].*error = 12.3456;
  for (const auto& print : {print_table, print_kinds}) {
    std::ostringstream table;
    print(heads, table);
    std::istringstream lines(table.str());
    std::size_t width = 0;
    int count = 0;
    for (std::string line; std::getline(lines, line);) {
      CHECK(line.size() <= 80);
      if (line.rfind("layer", 0) == 0) width = line.size();
      if (width == 0) continue;  // words before the table
      CHECK(line.size() == width);
      ++count;
    }
    CHECK(count == 5);  // header, heads and the mean
  }

  const auto path = std::filesystem::temp_directory_path() / "doublep-inspect-test.csv";
  for (const bool kinds : {false, true}) {
    write_inspect_csv(heads, kinds, path.string());
    std::ifstream csv(path);
    std::string line;
    int count = 0;
    std::set<std::ptrdiff_t> columns;
    for (; std::getline(csv, line); ++count)
      columns.insert(std::count(line.begin(), line.end(), ',') + 1);
    CHECK(count == 4);
    CHECK(columns == std::set<std::ptrdiff_t>{kinds ? 23 : 11});
  }
  std::filesystem::remove(path);
  CHECK_THROWS_AS(write_inspect_csv(heads, false, "/nowhere/at/all.csv"), InputError);
}

TEST_CASE("the shipped trace's kinds of heads, and no mass moves by asking for them", "[inspect]") {
  const Trace trace = Trace::open(shipped_trace());
  InspectOptions options;
  options.tokens_per_cluster = 16, options.max_steps = 4;
  const auto plain = inspect_layer(trace, 27, options);
  options.heads = true;
  double told = 0;
  const auto heads = inspect_layer(trace, 27, options, [&](double done) {
    CHECK(done > told);
    told = done;
  });
  CHECK(told == 1);
  REQUIRE(heads.size() == plain.size());
  for (std::size_t i = 0; i < heads.size(); ++i) {
    const HeadStatistics& s = heads[i];
    CHECK(std::isnan(plain[i].key_rank));
    CHECK(s.jensen == plain[i].jensen);
    CHECK(s.tokens_95 == plain[i].tokens_95);
    CHECK(s.prompt_positions == 64);
    CHECK((s.query_rank > 1 && s.query_rank < 64));
    for (const double share : {s.key_rank, s.key_within, s.query_within, s.drift}) {
      CHECK(share > 0);
      CHECK(share < 1);
    }
    CHECK(s.log_error_jensen > s.log_error_pooled);
  }
}

}  // namespace
}  // namespace doublep
