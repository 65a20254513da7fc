// The gate: what it lets pass, what it stops, what it refuses to compare.
#include <filesystem>
#include <limits>

#include "experiments/gate/compare.h"
#include "tests/catch.h"
#include "tests/support/temp_dir.h"

using namespace doublep;

namespace {

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
      RowRecord row = {};
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
    for (RowRecord& row : changed.runs[0].rows) row.output_error *= factor;
    CHECK(compare(Baseline::of(changed), before).exit_code() == code);
  }
}

TEST_CASE("a direction lets improvements pass, and still reports them") {
  Baseline before = Baseline::of(small_result());
  before.tolerances.at("output_error").worse = Tolerance::Worse::kHigher;
  before = round_trip(before);
  ResultFile better = small_result();
  for (RowRecord& row : better.runs[0].rows) row.output_error *= 0.5;
  const Comparison c = compare(Baseline::of(better), before);
  CHECK(c.exit_code() == 0);
  CHECK(c.moves.size() == 2);
  ResultFile worse = small_result();
  for (RowRecord& row : worse.runs[0].rows) row.output_error *= 2;
  CHECK(compare(Baseline::of(worse), before).exit_code() == 1);
}

TEST_CASE("a value that stops being a number, or starts to be one, is a regression") {
  const Baseline before = round_trip(Baseline::of(small_result()));
  ResultFile changed = small_result();
  changed.runs[0].rows[0].output_error = std::numeric_limits<double>::quiet_NaN();
  CHECK(compare(Baseline::of(changed), before).exit_code() == 1);
  changed = small_result();
  for (RowRecord& row : changed.runs[0].rows) row.audited_mass = 0.9;
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
  for (RowRecord& row : changed.runs[0].rows) std::swap(row.bytes[1], row.bytes[3]);
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
