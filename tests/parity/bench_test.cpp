// What the benchmarks refuse before they look for a device, and a batch of different lengths.
#include "experiments/bench/bench.h"

#include <filesystem>

#include "tests/parity/support.h"
#include "tests/support/message.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

namespace doublep::test {
namespace fs = std::filesystem;
namespace {

/// Where there is cuBLAS, and the simulator to read models.
std::string whole_steps() {
  const auto path = fs::path(DOUBLEP_PROGRAM).parent_path() / "e2e/doublep_e2e";
  return fs::exists(path) ? path.string() : "";
}

}  // namespace

TEST_CASE("an output that cannot be written is refused before anything is measured", "[plan]") {
  const std::string e2e = whole_steps();
  struct Program {
    std::string path, name;
    std::vector<std::string> arguments;
  };
  std::vector<Program> programs = {{DOUBLEP_PROGRAM, "doublep", {"bench"}}};
  if (!e2e.empty()) programs.push_back({e2e, "doublep_e2e", {}});
  const TempDir folder;
  const std::string trace = folder.file("t.h5"), nowhere = folder.file("none/x.json");
  fs::copy_file(needle_4k(), trace);
  const std::string before = slurp(trace);
  for (const Program& program : programs)
    for (const auto& [json, says] :
         std::vector<std::pair<std::string, std::string>>{{nowhere, "its folder does not exist"},
                                                          {folder.path(), "is a folder"},
                                                          {trace, "would destroy"}})
      for (const bool dry : {true, false}) {
        ProgramOptions options;
        options.program = program.path;
        std::vector<std::string> arguments = program.arguments;
        arguments.insert(arguments.end(), {trace, "--json", json});
        if (dry) arguments.push_back("--dry-run");
        const ProgramResult result = run_program(arguments, folder.path(), options);
        INFO(program.name << ": " << result.err);
        CHECK(result.code == 2);
        CHECK(result.out.empty());
        CHECK(is_one_clear_line(result.err, {json, says}, program.name));
        CHECK(slurp(trace) == before);
      }
}

TEST_CASE("whole steps are of the model whose heads the traces have", "[plan]") {
  ProgramOptions options;
  options.program = whole_steps();
  if (options.program.empty()) return skip("doublep_e2e is not built here");
  const TempDir folder;
  const std::string four = needle_4k();
  const std::string six = folder.file("six.h5");  // query heads a KV head, as Qwen2.5-1.5B has
  const std::string models = kRoot + "/configs/models/";
  const std::string llama = models + "llama-3.1-8b.yaml", qwen = models + "qwen2.5-coder-1.5b.yaml";
  REQUIRE(run_program({"synth", "-o", six, "--tokens", "512", "--layers", "1", "--steps", "4",
                       "--query-heads", "12", "--kv-heads", "2", "--head-dim", "128"},
                      folder.path())
              .code == 0);
  const auto run = [&](const std::string& trace, std::vector<std::string> more) {
    more.insert(more.begin(), {trace, "-p", "dense"});
    more.insert(more.end(), "--dry-run");
    return run_program(more, folder.path(), options);
  };
  for (const std::string& trace : {four, six}) {
    const ProgramResult taken = run(trace, {"--model", llama, qwen});
    INFO(taken.err);
    CHECK(taken.code == 0);
  }
  CHECK(run(four, {"--model", llama, qwen, "--layers", "32"}).code == 0);
  for (const auto& [result, says] :
       {std::pair{run(six, {"--model", llama, qwen, "--layers", "32"}),
                  std::vector<std::string>{"--layers 32", "qwen2.5-coder-1.5b has 28"}},
        std::pair{run(six, {"--model", llama}),
                  std::vector<std::string>{"six.h5", "6 query heads", "llama-3.1-8b: 128 and 4"}},
        std::pair{run(six, {}), std::vector<std::string>{"six.h5", "none given"}}}) {
    INFO(result.err);
    CHECK(result.code == 2);
    CHECK(is_one_clear_line(result.err, says, "doublep_e2e"));
  }
}

TEST_CASE("a mixed batch that cannot be is refused before anything is measured", "[plan]") {
  const TempDir folder;
  const std::string trace = needle_4k();
  for (const auto& [lengths, says] : std::vector<std::pair<std::string, std::string>>{
           {"0", "--mixed 0: expected tokens of a sequence, at least 1"},
           {"100000000", "--mixed 100000000: 2 such sequences take more than 44 GiB"}}) {
    const ProgramResult result = run_program(
        {"bench", trace, "-p", "dense", "--dry-run", "--mixed", "700", lengths}, folder.path());
    INFO(result.err);
    CHECK(result.code == 2);
    CHECK(is_one_clear_line(result.err, {says}));
  }
}

TEST_CASE("a team too small for its clusters is refused before anything is measured", "[plan]") {
  const std::string trace = needle_4k();
  const std::string best = "double_p:variant=best,head_kinds=one,share=0.04";
  const auto settings = bench::parse_settings({"dense", "retroinfer", best}, {"segment=8192"},
                                              bench::request_of({trace}, 8));
  const auto room = [](int team) {
    return [team](cuda::SelectRule rule) { return cuda::ranked_room(rule, 232448, 9, team); };
  };
  const auto tokens = cuda::SelectRule::kTokens, error = cuda::SelectRule::kError;
  const std::int64_t one = room(1)(tokens);
  CHECK(one == 26320);
  CHECK(room(2)(tokens) == 2 * one);
  CHECK(cuda::ranked_room(tokens, 166912, 8, 4) ==
        cuda::ranked_room(tokens, 166912, 8));  // no teams there
  bench::check_rooms(settings, {8192, 131072}, room(1), 1);
  bench::check_rooms(settings, {8192, 524288}, room(2), 2);
  bench::check_rooms({settings[0], settings[1]}, {524288}, room(1), 1);  // by mass any number goes
  // Errors of eight heads take 32 KiB of a block, and what their search comes to.
  const std::int64_t fewer = room(1)(error);
  CHECK(fewer < one - 8 * 512);
  CHECK(fewer > one - 8 * 512 - 256);
  const auto by_error =
      bench::parse_settings({"double_p:variant=best,head_kinds=one,stop=error,calibration=prompt"},
                            {"segment=8192"}, bench::request_of({trace}, 8));
  CHECK(contains(message_of([&] { bench::check_rooms(by_error, {524288}, room(1), 1); }),
                 "expected at most " + std::to_string(fewer) + " on this device"));
  const std::string line = message_of([&] {
    bench::check_rooms(settings, {8192, 524288}, room(1), 1);
  });
  CHECK(contains(line, best + ": 32763 clusters of a KV head at 524288 tokens, expected at most "
                              "26320 on this device with --select-team 1"));
  CHECK(contains(line, "raise it or tokens_per_cluster, or leave the context out"));
  const std::string any = message_of([&] { bench::check_rooms(settings, {4194304}, room(0), 0); });
  CHECK(contains(any, "at most 210560 on this device; raise tokens_per_cluster, or leave"));
}

TEST_CASE("a mixed batch stands beside what its parts take", "[plan]") {
  bench::TimedPoint point;
  point.step_us = 50;
  // Three of four sequences have one length, of which four take 80 us and three 70.
  const bench::MixedPoint mixed = bench::mixed_point(point, {{3, 4, 80, 70}, {1, 4, 20, 10}});
  CHECK(mixed.point.step_us == 50);
  CHECK(mixed.share_us == 65);
  CHECK(mixed.alone_us == 80);
}

TEST_CASE("layers have other recorded heads while there are some", "[parity]") {
  if (without_device()) return;
  const std::string trace = needle_4k();
  const auto dense = bench::parse_settings({"dense"}, {}, bench::request_of({trace}, 2));
  const auto outputs = [&](int layers, float noise) {
    const bench::RecordedHeads heads({trace}, 2, noise, layers);
    std::vector<std::vector<float>> all;
    for (const int place : {0, 1, 2}) {
      bench::Subject subject(heads, 700, 1, place);
      subject.prepare(dense[0], nullptr);
      subject.set_queries(-place);  // the same step of the recording: places begin at their own
      subject.enqueue(nullptr);
      all.push_back(subject.output());
    }
    return all;
  };
  const auto one = outputs(1, 0), two = outputs(2, 0);
  CHECK(one[1] == one[0]);
  CHECK(two[0] == one[0]);
  CHECK(two[1] != two[0]);
  CHECK(two[2] == two[0]);  // around again
}

TEST_CASE("sequences of a mixed batch attend and read what they do alone", "[parity][quick]") {
  if (without_device()) return;
  const std::string trace = needle_4k();
  const bench::RecordedHeads heads({trace}, 2, 0.1f);
  const std::vector<std::int64_t> lengths = {900, 300, 300, 5000};
  bench::Subject together(heads, lengths);
  const auto room = bench::Subject::make_source(heads, 5000);
  const auto settings = bench::parse_settings(
      {"dense", "quest:budget=256", "twilight", "double_p",
       "double_p:variant=best,head_kinds=one,metric=euclidean,share=0.1", "retroinfer"},
      {}, bench::request_of({trace}, 2));
  for (const bench::Setting& setting : settings) {
    INFO(setting.label);
    together.prepare(setting, room.get(), {}, true);
    together.enqueue(nullptr);
    const std::vector<float> output = together.output();
    const std::size_t each = output.size() / lengths.size();
    double bytes = 0;
    for (int b = 0; b < static_cast<int>(lengths.size()); ++b) {
      bench::Subject alone(heads, std::vector<std::int64_t>{lengths[b]}, b);
      alone.prepare(setting, room.get());
      alone.set_queries(0);  // a place has steps of its own
      alone.enqueue(nullptr);
      INFO("sequence " << b);
      CHECK(distance(output.data() + b * each, alone.output().data(), each) < 1e-5);
      bytes += alone.reads().bytes();
    }
    CHECK(together.reads().bytes() == Approx(bytes));
  }
}

TEST_CASE("a setting that stops by error is told what its factors are learnt from", "[plan]") {
  const TempDir folder;
  const std::string setting =
      "double_p:variant=best,head_kinds=one,stop=error,error=0.05,calibration=prompt";
  const ProgramResult taken =
      run_program({"bench", shipped_trace(), "--dry-run", "-p", setting}, folder.path());
  INFO(taken.err);
  CHECK(taken.code == 0);
  CHECK(contains(taken.out, "\"stop\": \"error\""));
  const ProgramResult none =
      run_program({"bench", needle_4k(), "--dry-run", "-p", setting}, folder.path());
  CHECK(none.code == 2);
  CHECK(is_one_clear_line(none.err, {"needle-4k.h5", setting,
                                     "learns from 19 of the prompt's last "
                                     "queries, and the trace holds 0"}));
}

TEST_CASE("a batch that stops by error errs by less than is promised", "[parity][quick]") {
  if (without_device()) return;
  const std::string trace = shipped_trace();
  const bench::RecordedHeads heads({trace}, 2, 0.1f);
  bench::Subject batch(heads, {1500, 1500, 900});
  const auto room = bench::Subject::make_source(heads, 1500);
  const auto settings = bench::parse_settings(
      {"dense",
       "double_p:variant=best,head_kinds=one,stop=error,error=0.1,calibration=prompt,"
       "calibration_queries=20"},
      {}, bench::request_of({trace}, 2));
  std::vector<std::vector<float>> outputs;
  for (const bench::Setting& setting : settings) {
    batch.prepare(setting, room.get());
    batch.enqueue(nullptr);
    outputs.push_back(batch.output());
  }
  const auto errors = bench::relative_errors(outputs[1], outputs[0], heads.head_dim());
  double mean = 0;
  for (const double e : errors) mean += e / static_cast<double>(errors.size());
  INFO("mean error " << mean << ", exact share " << batch.reads().exact_share);
  CHECK(mean > 0);
  CHECK(mean < 0.1);
  CHECK(batch.reads().exact_share < 1);
  CHECK(heads.learnt().size() == 2);  // once for each length
}

}  // namespace doublep::test
