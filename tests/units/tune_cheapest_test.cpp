// The tuner's choice per layer against every combination there is.
#include <yaml-cpp/yaml.h>

#include <cmath>
#include <map>
#include <random>
#include <sstream>

#include "experiments/tune/cheapest.h"
#include "experiments/tune/tuning.h"
#include "tests/catch.h"

using namespace doublep;

namespace {

using Metric = Target::Metric;

struct Case {
  int layers, candidates, rows;
  Target target;
};

// Candidates that trade bytes for error, each layer in a way of its own; the two parts of the
// steps are alike.
ResultFile draw(const Case& c, std::mt19937& random) {
  std::uniform_real_distribution<double> unit(0, 1);
  ResultFile file;
  file.traces.push_back({"t", "h", "", "", 1, 1, 1, 1, 2});
  for (int i = 0; i < c.candidates; ++i) {
    StoredRun run;
    run.policy = "p", run.label = std::to_string(i), run.parameters = "{}";
    for (int layer = 0; layer < c.layers; ++layer) {
      const double bytes = 1 + static_cast<double>(random() % 60);
      const double level = 0.4 * (0.2 + unit(random)) / std::sqrt(bytes);
      std::vector<double> errors(c.rows);
      // Few distinct values, so that ties and rows at the very bound come up.
      for (double& e : errors) e = std::round(100 * level * (0.5 + unit(random))) / 100;
      for (int step = 0; step < 2; ++step)
        for (int head = 0; head < c.rows; ++head) {
          Row row = {};
          row.layer = layer, row.step = step, row.head = head;
          row.output_error = errors[head];
          row.covered_mass = row.exact_mass = 1 - errors[head];
          row.bytes[3] = bytes / c.rows;
          run.rows.push_back(row);
        }
    }
    file.runs.push_back(run);
  }
  return file;
}

// Bytes of the cheapest combination that meets the target, over all layers; infinite: none does.
double by_brute_force(const ResultFile& file, const Tuning& tuning, int layers) {
  std::vector<std::map<int, LayerSample>> samples;
  for (const StoredRun& run : file.runs)
    samples.push_back(sample(run, tuning.target, tuning.holdout, false));
  std::vector<std::size_t> choice(layers, 0);
  double best = INFINITY;
  for (bool more = true; more;) {
    std::vector<const LayerSample*> picked;
    for (int l = 0; l < layers; ++l) picked.push_back(&samples[choice[l]].at(l));
    const Score s = score(picked, tuning.target);
    if (tuning.target.met(s.value)) best = std::min(best, s.bytes);
    more = false;
    for (int l = 0; l < layers && !more; ++l) {
      more = ++choice[l] < samples.size();
      if (!more) choice[l] = 0;
    }
  }
  return best;
}

double bytes_of(const PolicyTuning& t) {
  return t.per_layer ? t.per_layer->tuning.bytes : t.uniform ? t.uniform->tuning.bytes : INFINITY;
}

}  // namespace

TEST_CASE("parameters per layer are the cheapest of all combinations") {
  const std::vector<Target> targets = {
      {Metric::kOutputError, -1, 0.06, 0.95},   {Metric::kViolationRate, -1, 0.3, 0.93},
      {Metric::kCoveredMass, -1, 0.94, 0.95},   {Metric::kOutputError, 90, 0.08, 0.95},
      {Metric::kOutputError, 100, 0.12, 0.95},  {Metric::kOutputError, 50, 0.055, 0.95},
      {Metric::kCoveredMass, 5, 0.9, 0.95},     {Metric::kExactMass, 10, 0.915, 0.95},
      {Metric::kCoveredMass, 37.5, 0.93, 0.95}, {Metric::kCoveredMass, 0, 0.85, 0.95}};
  std::mt19937 random(7);
  int met = 0, per_layer = 0;
  for (int round = 0; round < 60; ++round)
    for (const Target& target : targets) {
      const Case c = {2 + static_cast<int>(random() % 4), 2 + static_cast<int>(random() % 5),
                      1 + static_cast<int>(random() % 4), target};
      const ResultFile file = draw(c, random);
      Tuning tuning;
      tuning.target = target;
      const PolicyTuning t = tune(file, tuning).at(0);
      const double best = by_brute_force(file, tuning, c.layers);
      INFO("round " << round << ", " << target.text() << ", " << c.layers << " layers, "
                    << c.candidates << " candidates");
      REQUIRE(bytes_of(t) == best);
      if (t.per_layer) {
        REQUIRE(target.met(t.per_layer->tuning.value));
        REQUIRE(t.per_layer->bytes_at_least == t.per_layer->tuning.bytes);  // and known to be
      }
      met += std::isfinite(best), per_layer += t.per_layer.has_value();
    }
  // The instances are neither hopeless nor trivial.
  CHECK(met > 300);
  CHECK(per_layer > 150);
}

TEST_CASE("where combinations must be given up, the bound says how far the choice may be off") {
  std::mt19937 random(11);
  for (int round = 0; round < 40; ++round) {
    const Target target = {Metric::kOutputError, -1, 0.06, 0.95};
    const ResultFile file = draw({5, 6, 3, target}, random);
    Tuning tuning;
    tuning.target = target;
    std::vector<std::vector<LayerOption>> options(5);
    const Limit limit(target, 15);
    for (const StoredRun& run : file.runs)
      for (const auto& [l, layer] : sample(run, target, tuning.holdout, false))
        options[l].push_back(limit.option(layer));
    const auto all = cheapest(options, limit), few = cheapest(options, limit, 1);
    REQUIRE(all.has_value() == few.has_value());
    if (!all) continue;
    CHECK(few->at_least <= all->bytes * (1 + 1e-9));
    CHECK(all->bytes <= few->bytes);
    CHECK(all->at_least == all->bytes);
  }
}

TEST_CASE("many layers with many candidates are solved to the end") {
  std::mt19937 random(3);
  const Target target = {Metric::kOutputError, -1, 0.05, 0.95};
  const ResultFile file = draw({64, 80, 2, target}, random);
  Tuning tuning;
  tuning.target = target;
  const PolicyTuning t = tune(file, tuning).at(0);
  REQUIRE(t.per_layer.has_value());
  CHECK(t.per_layer->bytes_at_least == t.per_layer->tuning.bytes);
  CHECK(target.met(t.per_layer->tuning.value));
}

TEST_CASE("a candidate whose error is no number in one layer may serve in the others") {
  std::mt19937 random(5);
  const Target target = {Metric::kOutputError, -1, 0.5, 0.95};
  ResultFile file = draw({2, 2, 1, target}, random);
  for (Row& row : file.runs[0].rows) {
    row.bytes[3] = 1;
    if (row.layer == 0) row.output_error = std::nan("");
  }
  for (Row& row : file.runs[1].rows) row.bytes[3] = 10;
  for (double percentile : {-1.0, 90.0}) {
    Tuning tuning;
    tuning.target = target, tuning.target.percentile = percentile;
    const PolicyTuning t = tune(file, tuning).at(0);
    REQUIRE(t.per_layer.has_value());
    CHECK(t.per_layer->runs == std::vector<std::size_t>{1, 0});
    CHECK(t.front.size() == 1);
  }
}

TEST_CASE("two traces of one name are told apart in what the tuner writes") {
  std::mt19937 random(9);
  const Target target = {Metric::kOutputError, -1, 1, 0.95};
  ResultFile file = draw({2, 2, 1, target}, random);
  file.traces[0] = {"t", "1111aaaa2222", "", "", 1, 1, 1, 1, 2};
  file.traces.push_back({"t", "3333bbbb4444", "", "", 1, 1, 1, 1, 2});
  file.config =
      "traces: [{path: /one/t.h5, hash: 1111aaaa2222}, {path: \"/it's/t.h5\", hash: "
      "3333bbbb4444}]\n";
  for (std::size_t i = 0; i < 2; ++i) file.runs.push_back(file.runs[i]), file.runs.back().trace = 1;
  Tuning tuning;
  tuning.target = target;
  const auto all = tune(file, tuning);
  std::ostringstream printed;
  print_tuning(all, file, tuning, printed);
  CHECK(printed.str().find("t (1111aaaa), p") != std::string::npos);
  CHECK(printed.str().find("t (3333bbbb), p") != std::string::npos);
  const YAML::Node written = YAML::Load(tuning_yaml(all, file, tuning))["tuned"];
  REQUIRE(written.size() == 2);
  CHECK(written[0]["trace_hash"].as<std::string>() == "1111aaaa2222");
  CHECK(written[0]["trace_path"].as<std::string>() == "/one/t.h5");
  CHECK(written[1]["trace_path"].as<std::string>() == "/it's/t.h5");
}
