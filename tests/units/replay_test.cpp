// Does a replay show each step what decoding showed it, and report a row per layer, step and head?
#include "experiments/replay/replay.h"

#include <algorithm>

#include "tests/support/message.h"
#include "tests/support/run_policy.h"
#include "tests/support/trace_file.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// Notes what it is shown, and attends everything.
class Witness final : public Decoder {
 public:
  explicit Witness(std::vector<std::string>& log) : log_(log), inner_(make_decoder("dense")) {}
  void prefill(const KvCacheView& cache) override {
    log_.push_back("prefill " + std::to_string(cache.length));
    inner_->prefill(cache);
  }
  void append(const KvCacheView& grown) override {
    log_.push_back("append " + std::to_string(grown.length));
    inner_->append(grown);
  }
  StepResult step(const QueryBlock& queries, Detail detail) override {
    log_.push_back("step " + std::to_string(queries.step));
    return inner_->step(queries, detail);
  }
  IndexCost index_cost() const override { return inner_->index_cost(); }

 private:
  std::vector<std::string>& log_;
  std::unique_ptr<Decoder> inner_;
};

bool go_on(double) { return true; }

}  // namespace

TEST_CASE("prefill to the first position, then append and step, layer by layer") {
  const TraceFile file;
  const Trace trace = file.open();
  std::vector<std::string> log;
  std::vector<int> layers;
  const auto result = replay(
      trace, {},
      [&](int layer, int) {
        layers.push_back(layer);
        return std::make_unique<Witness>(log);
      },
      go_on);
  const std::vector<std::string> one = {"prefill 17", "step 0",    "append 18",
                                        "step 1",     "append 20", "step 2"};
  std::vector<std::string> both = one;
  both.insert(both.end(), one.begin(), one.end());
  CHECK(log == both);
  CHECK(layers == std::vector<int>{1, 10});
  REQUIRE(result.rows.size() == 2 * 3 * 4);
  for (std::size_t i = 0; i < result.rows.size(); ++i) {
    const Row& row = result.rows[i];
    CHECK(row.layer == (i < 12 ? 1 : 10));
    CHECK(row.step == static_cast<std::int32_t>(i / 4 % 3));
    CHECK(row.head == static_cast<std::int32_t>(i % 4));
    CHECK(row.kv_head == row.head / 2);
    CHECK(row.visible_tokens == trace.info().positions[row.step] + 1);
    CHECK(row.output_error < 1e-6);
    CHECK(row.violation == 0);
    CHECK(std::isnan(row.audited_mass));
  }
  REQUIRE(result.layers.size() == 2);
  CHECK(result.layers[1].layer == 10);
  CHECK(std::isnan(result.layers[0].dense_mismatch));  // no recorded outputs
}

TEST_CASE("steps that are not measured are still appended") {
  const TraceFile file;
  std::vector<std::string> log;
  ReplayOptions options;
  options.layers = {10}, options.every_step = 2;
  auto result = replay(
      file.open(), options, [&](int, int) { return std::make_unique<Witness>(log); }, go_on);
  CHECK(log ==
        std::vector<std::string>{"prefill 17", "step 0", "append 18", "append 20", "step 2"});
  CHECK(result.rows.size() == 2 * 4);
  CHECK(result.rows[4].step == 2);
  log.clear();
  options.every_step = 1, options.max_steps = 2;
  result = replay(
      file.open(), options, [&](int, int) { return std::make_unique<Witness>(log); }, go_on);
  CHECK(log.back() == "step 1");
  CHECK(result.rows.size() == 2 * 4);
  options.max_steps = 99;
  CHECK(replay_policy(file.open(), "dense", {}, options).rows.size() == 3 * 4);
}

TEST_CASE("violations are measured against the promise, or against what the replay asks for") {
  const TraceFile file;
  const Trace trace = file.open();
  ReplayOptions strict, lax;
  strict.target_mass = 1.0, lax.target_mass = 1e-6;
  const Given one = {{"sink", std::int64_t{0}}, {"window", std::int64_t{1}}};
  for (const Row& row : replay_policy(trace, "streaming", one, strict).rows)
    CHECK(row.violation == 1);
  for (const Row& row : replay_policy(trace, "streaming", one, lax).rows) CHECK(row.violation == 0);
  const auto oracle = replay_policy(trace, "oracle_top_p", {{"p", 0.5}}, strict);
  CHECK(oracle.target_p == 0.5);  // its own promise, which it keeps
  for (const Row& row : oracle.rows) CHECK(row.violation == 0);
}

TEST_CASE("recorded outputs are compared with dense attention, whatever the policy") {
  const TraceFile file;
  const Trace plain = file.open();
  std::vector<float> outputs;
  const TraceLayer data = plain.read_layer(1);
  for (std::int64_t t = 0; t < 3; ++t) {
    const auto decoder = make_decoder("dense");
    decoder->prefill(plain.cache(data).first(plain.info().positions[t] + 1));
    const auto step = decoder->step(plain.queries(data, t), Detail::kOutput);
    outputs.insert(outputs.end(), step.output.begin(), step.output.end());
  }
  const TraceFile recorded, wrong;
  recorded.replace("layers/1/outputs", {3, 4, 8}, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, outputs.data());
  outputs[2 * 4 * 8 + 5] += 1;  // the last step, its first head
  wrong.replace("layers/1/outputs", {3, 4, 8}, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, outputs.data());
  const auto good = replay_policy(recorded.open(), "streaming");
  CHECK(good.layers[0].dense_mismatch < 1e-5);
  CHECK(std::isnan(good.layers[1].dense_mismatch));
  CHECK(replay_policy(wrong.open(), "streaming").layers[0].dense_mismatch > 0.1);
}

TEST_CASE("a replay stops when told, and names a layer that is not there") {
  const TraceFile file;
  const Trace trace = file.open();
  std::vector<double> done;
  const auto make = [](int, int) { return make_decoder("dense"); };
  CHECK_THROWS_AS(replay(trace, {}, make,
                         [&](double d) {
                           done.push_back(d);
                           return done.size() < 4;
                         }),
                  Interrupted);
  CHECK(done.size() == 4);
  CHECK(std::is_sorted(done.begin(), done.end()));
  CHECK(done[2] == Approx(0.5));
  ReplayOptions options;
  options.layers = {3};
  CHECK(contains(message_of([&] { replay(trace, options, make, go_on); }), "1, 10"));
}
