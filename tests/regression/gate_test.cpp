// The gate: what it lets pass, what it stops, what it refuses to compare.
#include "experiments/gate/gate.h"

#include <cmath>
#include <filesystem>
#include <limits>

#include "core/base/random.h"
#include "core/yaml/yaml.h"
#include "experiments/results/stored_run.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/small_sweep.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// Numbers that a short decimal form loses.
double awkward(std::uint64_t bits) {
  switch (splitmix64(bits) % 8) {
    case 0:
      return std::numeric_limits<double>::denorm_min() * static_cast<double>(bits % 1000);
    case 1:
      return 1e12 + static_cast<double>(bits % 1000000007);
    case 2:
      return std::numeric_limits<double>::quiet_NaN();
    case 3:
      return bits % 2 == 0 ? INFINITY : -INFINITY;
    case 4:
      return 0.1 + static_cast<double>(bits % 1000) * 1e-17;
    case 5:
      return -0.0;
    case 6:
      return std::numeric_limits<double>::max() / 4 / static_cast<double>(1 + bits % 97);
    default:
      return std::sqrt(static_cast<double>(bits >> 12));
  }
}

ResultFile small_result() {
  ResultFile file;
  file.config = "seed: 0\nruns:\n  - one\n", file.config_hash = "00", file.commit = "c",
  file.created = "now";
  file.traces.push_back({"trace", "ab", "m", "t", 8, 2, 1, 4, 2});
  StoredRun run;
  run.key = "k1", run.policy = "double_p", run.label = "double_p p1=0.9";
  run.parameters = R"({"p1": 0.9})";
  for (int step = 0; step < 2; ++step)
    for (int head = 0; head < 2; ++head) {
      Row row = {};
      row.layer = 3, row.head = head, row.step = step;
      row.visible_tokens = 8, row.exact_tokens = 4 + step, row.oracle_tokens = 3;
      row.exact_mass = 0.9, row.covered_mass = 0.95, row.output_error = 0.05 + 0.01 * head;
      row.cosine = 0.99, row.lse_error = std::numeric_limits<double>::infinity();
      row.audited_mass = std::numeric_limits<double>::quiet_NaN();
      row.bytes[1] = 1000, row.flops[3] = 5;
      run.rows.push_back(row);
    }
  file.runs.push_back(run);
  return file;
}

Baseline round_trip(const Baseline& baseline) {
  const test::TempDir folder;
  const std::string path = (std::filesystem::path(folder.path()) / "b.yaml").string();
  baseline.save(path);
  return Baseline::load(path);
}

}  // namespace

TEST_CASE("a result is the same as its own baseline, read back from disk") {
  const Baseline now = Baseline::of(small_result());
  CHECK(now.runs.at("k1").heads.at({3, 0}).at("exact_tokens") == 9);             // 4 + 5, a sum
  CHECK(now.runs.at("k1").heads.at({3, 1}).at("output_error") == Approx(0.06));  // a mean
  const Comparison c = compare(now, round_trip(now));
  CHECK(c.exit_code() == 0);
  CHECK(c.moves.empty());
  CHECK(c.compared == 2 * gate_metrics().size());
}

TEST_CASE("one token more is a regression, and is named by layer, head and metric") {
  const Baseline before = round_trip(Baseline::of(small_result()));
  ResultFile changed = small_result();
  changed.runs[0].rows[1].exact_tokens += 1;
  const Comparison c = compare(Baseline::of(changed), before);
  CHECK(c.exit_code() == 1);
  REQUIRE(c.moves.size() == 2);
  CHECK(c.moves[0].metric == "exact_tokens");
  CHECK(c.moves[1].metric == "exact_tokens_by_step");
  CHECK(c.moves[0].layer == 3);
  CHECK(c.moves[0].head == 1);
  CHECK((c.moves[0].before == 9 && c.moves[0].after == 10));
}

TEST_CASE("reals pass within their tolerance and fail beyond it, either way") {
  const Baseline before = round_trip(Baseline::of(small_result()));
  for (const auto& [factor, code] : {std::pair{1 + 1e-6, 0}, {1 + 1e-3, 1}, {1 - 1e-3, 1}}) {
    ResultFile changed = small_result();
    for (Row& row : changed.runs[0].rows) row.output_error *= factor;
    CHECK(compare(Baseline::of(changed), before).exit_code() == code);
  }
}

TEST_CASE("a direction lets improvements pass, and still reports them") {
  Baseline before = Baseline::of(small_result());
  before.tolerances.at("output_error").worse = Tolerance::Worse::kHigher;
  before = round_trip(before);
  ResultFile better = small_result();
  for (Row& row : better.runs[0].rows) row.output_error *= 0.5;
  const Comparison c = compare(Baseline::of(better), before);
  CHECK(c.exit_code() == 0);
  CHECK(c.moves.size() == 2);
  ResultFile worse = small_result();
  for (Row& row : worse.runs[0].rows) row.output_error *= 2;
  CHECK(compare(Baseline::of(worse), before).exit_code() == 1);
}

TEST_CASE("a value that stops being a number, or starts to be one, is a regression") {
  const Baseline before = round_trip(Baseline::of(small_result()));
  ResultFile changed = small_result();
  changed.runs[0].rows[0].output_error = std::numeric_limits<double>::quiet_NaN();
  CHECK(compare(Baseline::of(changed), before).exit_code() == 1);
  changed = small_result();
  for (Row& row : changed.runs[0].rows) row.audited_mass = 0.9;
  CHECK(compare(Baseline::of(changed), before).exit_code() == 1);
}

TEST_CASE("another configuration or a missing run cannot be compared, and says why") {
  const Baseline before = round_trip(Baseline::of(small_result()));
  ResultFile other = small_result();
  other.config_hash = "11", other.config = "seed: 1\nruns:\n  - one\n";
  Comparison c = compare(Baseline::of(other), before);
  CHECK(c.exit_code() == 2);
  REQUIRE(c.obstacles.size() == 3);
  CHECK(c.obstacles[1] == "only in the baseline: seed: 0");
  CHECK(c.obstacles[2] == "only in the result:   seed: 1");
  ResultFile missing = small_result();
  missing.runs[0].key = "k2";
  CHECK(compare(Baseline::of(missing), before).exit_code() == 2);
  ResultFile fewer = small_result();
  fewer.runs[0].rows.erase(fewer.runs[0].rows.begin() + 1);
  fewer.runs[0].rows.erase(fewer.runs[0].rows.begin() + 2);
  CHECK(compare(Baseline::of(fewer), before).exit_code() == 2);
}

TEST_CASE("a token moved from one step to another is a regression") {
  const Baseline before = round_trip(Baseline::of(small_result()));
  ResultFile changed = small_result();
  changed.runs[0].rows[0].exact_tokens += 1;  // head 0, step 0
  changed.runs[0].rows[2].exact_tokens -= 1;  // head 0, step 1
  CHECK(compare(Baseline::of(changed), before).exit_code() == 1);
}

TEST_CASE("bytes moved from one stage to another are a regression") {
  const Baseline before = round_trip(Baseline::of(small_result()));
  ResultFile changed = small_result();
  for (Row& row : changed.runs[0].rows) std::swap(row.bytes[1], row.bytes[3]);
  CHECK(compare(Baseline::of(changed), before).exit_code() == 1);
}

TEST_CASE("a baseline cut short cannot be compared: runs, heads and metrics must all be there") {
  const Baseline now = Baseline::of(small_result());
  Baseline cut = now;
  cut.runs.clear();
  CHECK(compare(now, cut).exit_code() == 2);
  cut = now;
  cut.runs.at("k1").heads.erase({3, 1});
  CHECK(compare(now, cut).exit_code() == 2);
  cut = now;
  for (auto& [place, values] : cut.runs.at("k1").heads) values.erase("exact_tokens");
  CHECK(compare(now, cut).exit_code() == 2);
}

TEST_CASE("check is 0 right after --update, on any numbers") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    ResultFile file = small_result();
    file.runs[0].rows.resize(2);  // a step: sums and means are the numbers themselves
    std::uint64_t n = seed * 1000;
    for (Row& row : file.runs[0].rows) {
      row.visible_tokens = static_cast<std::int64_t>(1e15) + static_cast<std::int64_t>(n * n);
      row.exact_tokens = 1234567890123457 + static_cast<std::int64_t>(n);
      for (double* real : {&row.exact_mass, &row.covered_mass, &row.output_error, &row.cosine,
                           &row.lse_error, &row.predicted_error, &row.error_factor,
                           &row.audited_mass, &row.audited_low, &row.audited_high})
        *real = awkward(splitmix64(++n));
      for (double& bytes : row.bytes) bytes = awkward(splitmix64(++n));
      for (double& flops : row.flops) flops = awkward(splitmix64(++n));
    }
    const Baseline now = Baseline::of(file), read = round_trip(now);
    for (const auto& [place, values] : now.runs.at("k1").heads)
      for (const auto& [metric, value] : values) {
        const double back = read.runs.at("k1").heads.at(place).at(metric);
        INFO(metric << " " << value << " " << back);
        CHECK((back == value || (std::isnan(back) && std::isnan(value))));
      }
    const Comparison c = compare(now, read);
    CHECK(c.exit_code() == 0);
    CHECK(c.moves.empty());
  }
}

TEST_CASE("check is 0 right after --update, whatever a trace is called") {
  for (const char* name :
       {"bob's trace.h5", "a \"quoted\" one.h5", "two\nlines.h5", "\xd0\xba\xd0\xb5\xd1\x88.h5",
        "# {a: b}.h5", "true.h5", "1e3.h5", " blank.h5", "back\\slash: x.h5"}) {
    const SmallSweep sweep(name);
    const ProgramResult run = sweep.run();
    INFO(name << run.err);
    REQUIRE(run.code == 0);
    const std::string baseline = sweep.file("b.yaml");
    for (int again = 0; again < 2; ++again) {  // the second time over a baseline that is there
      CHECK(sweep.program({"check", sweep.result(), "--baseline", baseline, "--update"}).code == 0);
      const ProgramResult check = sweep.program({"check", sweep.result(), "--baseline", baseline});
      INFO(check.out << check.err);
      CHECK(check.code == 0);
    }
    CHECK(Baseline::load(baseline).runs.begin()->second.trace_name ==
          std::filesystem::path(name).stem().string());
    const Yaml config = Yaml::parse(ResultFile::load(sweep.result()).config, "config");
    CHECK(config.at("traces").items().at(0).at("path").text() == sweep.file(name));
  }
}

TEST_CASE("two traces of one name are told apart in what the gate says") {
  ResultFile file = small_result();
  file.traces.push_back(file.traces[0]);
  file.traces[0].hash = "1111aaaa2222bbbb", file.traces[1].hash = "3333cccc4444dddd";
  file.runs.push_back(file.runs[0]);
  file.runs[1].key = "k2", file.runs[1].trace = 1;
  const Baseline before = round_trip(Baseline::of(file));
  ResultFile changed = file;
  for (StoredRun& run : changed.runs) run.rows[1].exact_tokens += 1;
  std::ostringstream moved, missing;
  print(compare(Baseline::of(changed), before), 10, moved);
  for (const char* name : {"trace (1111aaaa)  double_p", "trace (3333cccc)  double_p"})
    CHECK(moved.str().find(name) != std::string::npos);
  changed.runs.pop_back();
  print(compare(Baseline::of(changed), before), 10, missing);
  CHECK(missing.str().find("missing run: trace (3333cccc) double_p p1=0.9") != std::string::npos);
}

TEST_CASE("a baseline with a key missing or misspelt is an input error of one line") {
  const SmallSweep sweep;
  REQUIRE(sweep.run().code == 0);
  const std::string baseline = sweep.file("b.yaml");
  REQUIRE(sweep.program({"check", sweep.result(), "--baseline", baseline, "--update"}).code == 0);
  const std::string good = slurp(baseline);
  int tried = 0;
  for (std::size_t line = 0; line < good.size(); line = good.find('\n', line) + 1) {
    const std::size_t colon = good.find(':', line), end = good.find('\n', line);
    // The configuration is text, which only a difference of hashes makes worth reading.
    const bool text = line > good.find("\nconfig: ") && line <= good.find("\nruns:");
    if (text || good[line] == '#' || colon == std::string::npos || colon > end) continue;
    if (++tried % 7 != 1) continue;
    std::string misspelt = good;
    misspelt.insert(good[colon - 1] == '"' ? colon - 1 : colon, "x");
    spill(baseline, misspelt);
    const ProgramResult check = sweep.program({"check", sweep.result(), "--baseline", baseline});
    INFO(good.substr(line, end - line) << check.out << check.err);
    // A run's key that is not known is told as a difference; all else as a mistake in the file.
    CHECK(check.code == 2);
    CHECK(check.err.find("unexpected") == std::string::npos);
    CHECK((check.out.rfind("cannot compare", 0) == 0 || is_one_clear_line(check.err, {"b.yaml"})));
  }
  CHECK(tried > 50);
}
