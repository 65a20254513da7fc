// How long answers are, from rows of experiments/accuracy.py; what a plan may ask of crossovers and
// answers; and what a run of both leaves in its file.
#include <filesystem>

#include "core/trace/hdf5/h5.h"
#include "experiments/simulate/answer_rows.h"
#include "experiments/simulate/plan.h"
#include "experiments/simulate/simulation.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::sim;
using namespace doublep::test;

namespace {

const std::string kHead =
    "{\"format\": \"doublep-accuracy\", \"version\": 1, \"config\": {\"answer_tokens\": 45, "
    "\"policies\": [{\"name\": \"full\", \"policy\": \"dense\", \"backend\": \"cuda\"}, "
    "{\"name\": \"Quest .04\", \"policy\": \"quest\", \"budget\": 0.04}]}}\n";

std::string row(const char* policy, int question, int tokens) {
  return concat("{\"model\": \"m\", \"task\": \"t\", \"length\": 8192, \"question\": ", question,
                ", \"policy\": \"", policy, "\", \"answer_tokens\": ", tokens,
                ", \"answer\": \" a\\n\"}\n");
}

// Pairs (10, 15) and (30, 45); a question that dense alone answered; a text that was given.
const std::string kRows = row("full", 0, 10) + row("full", 1, 30) + row("full", 2, 40) +
                          row("Quest .04", 0, 15) + row("Quest .04", 1, 45) +
                          "{\"model\": \"m\", \"task\": \"held_out\", \"length\": 8192, "
                          "\"question\": 0, \"policy\": \"Quest .04\", \"answer_tokens\": 64}\n";

std::vector<RunSpec> policies(double budget) {
  const auto spec = [](const char* name, const std::map<std::string, ParamValue>& given) {
    return RunSpec{name, "cpu", resolve(PolicyRegistry::instance().find(name), given), ""};
  };
  return {spec("dense", {}), spec("quest", {{"budget", budget}})};
}

std::string plan_asking(const std::string& asked) {
  return "hardware: [" + kRoot + "/configs/hardware/h100-sxm.yaml]\nmodels: [" + kRoot +
         "/configs/models/llama-3.1-8b.yaml]\nmeasure: {max_steps: 1}\nworkloads: [{name: w, "
         "traces: [" +
         needle_4k() + "]}]\npolicies:\n  - dense\n" + "  - {policy: quest, budget: 0.04}\n" +
         asked;
}

}  // namespace

TEST_CASE("An answer's length to dense's, question by question", "[sim]") {
  const TempDir folder;
  const std::string path = folder.file("rows.jsonl");
  spill(path, kHead + kRows);
  const auto found = read_answer_lengths(path, policies(0.04));
  REQUIRE(found.size() == 2);
  CHECK(found[0].ratio == 1);
  CHECK(found[1].ratio == Approx((15 + 45) / (10 + 30.0)));
  CHECK(found[1].questions == 2);
  CHECK(found[1].cut == 1);  // 45 is the most that was asked for
  const auto says = [&](const std::string& text, double budget = 0.04) {
    spill(path, text);
    return message_of([&] { read_answer_lengths(path, policies(budget)); });
  };
  CHECK(contains(says(kHead + kRows, 0.05), "no answers of quest with"));
  CHECK(contains(says(kHead + row("full", 0, 3) + row("Quest .04", 1, 3)), "no answers of quest"));
  CHECK(contains(says("{\"format\": \"doublep-bench\"}\n"), "'doublep-accuracy'"));
  CHECK(contains(says(kHead + "{\"answer\": \"\", \"model\": 1}\n"), path + ":2"));
}

TEST_CASE("The committed answers tell how long they are", "[sim]") {
  const SimulationPlan plan = load_plan(kRoot + "/configs/simulate_crossover.yaml");
  const auto found =
      read_answer_lengths(kRoot + "/analysis/results/accuracy/qwen-1.5b.jsonl", plan.policies);
  REQUIRE(found.size() == plan.policies.size());
  CHECK(found[0].ratio == 1);
  for (const AnswerLength& length : found) {
    CHECK(length.questions >= 150);
    CHECK(length.cut < length.questions / 2);
    CHECK(length.ratio == Approx(1).epsilon(0.05));
  }
}

TEST_CASE("What a plan may ask of crossovers and answers", "[sim]") {
  const TempDir folder;
  const std::string path = folder.file("plan.yaml"), rows = folder.file("rows.jsonl");
  spill(rows, kHead + kRows);
  const auto plan = [&](const std::string& asked) {
    spill(path, plan_asking(asked));
    return load_plan(path);
  };
  const auto says = [&](const std::string& asked) { return message_of([&] { plan(asked); }); };
  const SimulationPlan both = plan(
      "crossover: {batch: [1, 8], kv_dtype: [bf16, int4]}\n"
      "answer: {prompt: [1024, 2048], tokens: [64, 512], "
      "ratio: [1, 1.25, 2]}\n");
  REQUIRE(both.studies[0].crossover);
  CHECK(both.studies[0].crossover->points.size() == 4);
  REQUIRE(both.studies[0].answers);
  CHECK(
      both.studies[0].answers->ratios ==
      std::vector<std::vector<double>>{{1}, {1, 1.25, 2}});  // dense is what they are held against
  CHECK(both.num_points() == 2 * 4 + 2 * 2 * (1 + 3));
  const SimulationPlan measured = plan("answer: {prompt: 1024, tokens: 64, rows: " + rows + "}\n");
  CHECK(measured.studies[0].answers->ratios == std::vector<std::vector<double>>{{1}, {1.5}});
  REQUIRE(measured.studies[0].answers->lengths.size() == 2);
  CHECK(measured.studies[0].answers->lengths[1].questions == 2);
  const auto inputs = measured.inputs();
  CHECK(std::count(inputs.begin(), inputs.end(), rows) == 1);

  CHECK(contains(says("crossover: {from: 9, to: 8}\n"), "`from`, 9, exceeds `to`, 8"));
  CHECK(contains(says("crossover: {context: 8}\n"), "context"));
  CHECK(contains(says("crossover: {batch: 0}\n"), "batch"));
  CHECK(contains(says("answer: {tokens: 64}\n"), "prompt"));
  CHECK(contains(says("answer: {prompt: 1024}\n"), "tokens"));
  CHECK(contains(says("answer: {prompt: 1024, tokens: 6.5}\n"), "integers"));
  CHECK(contains(says("answer: {prompt: 1024, tokens: 64, ratio: 0}\n"), "ratio"));
  CHECK(contains(says("answer: {prompt: 1024, tokens: 64, ratio: 2, rows: " + rows + "}\n"),
                 "keep one of them"));
  CHECK(contains(says("answer: {prompt: 1024, tokens: 64, rows: none.jsonl}\n"), "no such file"));
  spill(path, plan_asking("crossover: {batch: 1}\n"));
  CHECK(contains(message_of([&] { load_plan(path, {"policies=[quest]"}); }), "against dense"));
}

TEST_CASE("A run leaves crossovers and answers in its file", "[sim]") {
  const TempDir folder;
  const std::string config = folder.file("plan.yaml"), out = folder.file("r.h5");
  spill(config, plan_asking("crossover: {batch: [1, 8]}\n"
                            "answer: {prompt: 4096, tokens: 100, ratio: [1, 2]}\n"));
  const auto run = run_program({"simulate", config, "-o", out}, folder.path());
  INFO(run.err);
  REQUIRE(run.code == 0);
  CHECK(contains(run.out, "beats dense from"));
  CHECK(contains(run.out, "200 tokens:"));
  const h5::Handle file = h5::open_file(out), runs = h5::open_group(file.get(), "runs", out);
  std::size_t crossed = 0, answered = 0;
  for (const std::string& key : h5::children(runs.get())) {
    const auto tables = h5::children(h5::open_group(runs.get(), key, out).get());
    crossed += std::count(tables.begin(), tables.end(), "crossover");
    answered += std::count(tables.begin(), tables.end(), "answers");
  }
  CHECK(crossed == 1);  // dense does not cross itself
  CHECK(answered == 2);
}
