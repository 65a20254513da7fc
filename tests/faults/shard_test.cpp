// Shards by themselves and put together: what one run writes, or one clear line and no file.
#include <filesystem>

#include "experiments/results/result_reader.h"
#include "experiments/shards/merge.h"
#include "tests/catch.h"
#include "tests/support/paths.h"
#include "tests/support/small_sweep.h"

using namespace doublep;
using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

// Two traces, two seeds, a policy with terms, labels and a title: 2 x 10 runs.
class Shards {
 public:
  Shards() : small_("toy.h5") {
    spill(config(), "traces: [toy.h5, " + needle_4k() +
                        "]\nseed: [0, 1]\nreplay: {max_steps: 2}\npolicies:\n  - dense\n"
                        "  - {policy: streaming, window: [2, 4, 8], title: a window}\n"
                        "  - {policy: cluster_top_k, k: 2, tokens_per_cluster: 4}\n");
  }
  std::string config() const { return small_.config(); }
  std::string whole() const { return small_.result(); }
  std::string file(const std::string& name) const { return small_.file(name); }
  std::string shard(int index, int count) const { return shard_path(whole(), {index, count}); }
  ProgramResult program(const std::vector<std::string>& arguments) const {
    return small_.program(arguments);
  }
  ProgramResult run_shard(int index, int count, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all = {
        "run", config(), "-o", shard(index, count), "--shard", Shard{index, count}.text()};
    all.insert(all.end(), more.begin(), more.end());
    return program(all);
  }
  std::vector<std::string> run_all(int count) const {
    std::vector<std::string> files;
    for (int index = 1; index <= count; ++index) {
      const ProgramResult ran = run_shard(index, count);
      INFO(ran.err);
      REQUIRE(ran.code == 0);
      files.push_back(shard(index, count));
    }
    return files;
  }
  ProgramResult merge(const std::vector<std::string>& files,
                      const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all = {"merge", "-o", file("merged.h5")};
    all.insert(all.end(), files.begin(), files.end());
    all.insert(all.end(), more.begin(), more.end());
    return program(all);
  }
  std::string csv(const std::string& result) const { return program({"export", result}).out; }
  /// Refused in a line that holds every part; an earlier output stays, and nothing lies about.
  void expect_refusal(const ProgramResult& result, const std::vector<std::string>& parts) const {
    INFO(result.err);
    CHECK(result.code == 2);
    CHECK(is_one_clear_line(result.err, parts));
    CHECK(result.out.empty());
    CHECK(!fs::exists(file("merged.h5")));
    CHECK(!fs::exists(file("merged.h5.partial")));
  }

 private:
  SmallSweep small_;
};

// Changes a result as `change` wants it and makes its hashes right again: what another program, or
// somebody with a pen, would have written.
template <class Change>
void rewrite(const std::string& path, const Change& change) {
  const h5::Handle file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
  const h5::Handle runs = h5::open_group(file.get(), "runs", path);
  change(file.get(), runs.get());
  H5Adelete(file.get(), kContentHash);
  h5::write_string(file.get(), kContentHash, root_hash(file.get(), path));
}

// Everything of a run, or of a file, but times and where it was computed; as a hash, since some of
// it is no number, which is not equal to itself.
std::string lasting(Attributes all) {
  for (const char* passing : {"created", "seconds", "cpu"}) all.erase(passing);
  Sha256 hash;
  add_to_hash(all, hash);
  return hash.hex();
}

}  // namespace

TEST_CASE("shards merged in any order are what one run writes") {
  const Shards shards;
  REQUIRE(shards.program({"run", shards.config(), "-o", shards.whole()}).code == 0);
  const std::string good = shards.csv(shards.whole());
  for (const int count : {1, 3, 20}) {
    std::vector<std::string> files = shards.run_all(count);
    std::reverse(files.begin(), files.end());
    const ProgramResult merged = shards.merge(files);
    INFO(merged.err);
    REQUIRE(merged.code == 0);
    CHECK(merged.out.rfind("20 runs of " + std::to_string(count) + " shards in ", 0) == 0);
    CHECK(shards.csv(shards.file("merged.h5")) == good);
    for (const std::string& file : files) CHECK(fs::exists(file));
  }
  // Whatever is no time is equal: configuration, hash, traces, every attribute of every run.
  const std::string a = shards.whole(), b = shards.file("merged.h5");
  const h5::Handle one = h5::open_file(a), other = h5::open_file(b);
  CHECK(lasting(read_attributes(one.get(), a)) == lasting(read_attributes(other.get(), b)));
  for (const char* group : {"traces", "runs"}) {
    const h5::Handle left = h5::open_group(one.get(), group, a);
    const h5::Handle right = h5::open_group(other.get(), group, b);
    const auto names = h5::children(left.get());
    REQUIRE(names == h5::children(right.get()));
    for (const std::string& name : names) {
      CHECK(lasting(read_attributes(h5::open_group(left.get(), name, a).get(), a)) ==
            lasting(read_attributes(h5::open_group(right.get(), name, b).get(), b)));
    }
  }
  CHECK(shards.program({"run", shards.config(), "-o", b})
            .out.rfind("20 runs (20 were there already)", 0) == 0);
}

TEST_CASE("an interrupted shard continues, and does only its own runs") {
  const Shards shards;
  ProgramOptions options;
  const std::string file = shards.shard(2, 2), parts = file + ".parts";
  options.interrupt_when = [&] {
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(parts, none))
      if (entry.path().extension() == ".sha256") return true;
    return false;
  };
  const std::vector<std::string> words = {"run", shards.config(), "-o", file, "--shard", "2/2"};
  const auto stopped = run_program(words, fs::path(shards.config()).parent_path(), options);
  INFO(stopped.err);
  REQUIRE(stopped.code == 130);
  CHECK(!fs::exists(file));
  const ProgramResult again = shards.run_shard(2, 2);
  REQUIRE(again.code == 0);
  CHECK(again.out.rfind("10 runs (", 0) == 0);
  CHECK(again.out.find("(0 were") == std::string::npos);
  CHECK(!fs::exists(parts));
  REQUIRE(shards.run_shard(1, 2).code == 0);
  CHECK(shards.merge({shards.shard(1, 2), file}).code == 0);
  // Without -o a shard has a file of its own, and --dry-run says what it would do.
  spill(shards.config(), slurp(shards.config()) + "output: " + shards.file("o.h5") + "\n");
  const ProgramResult plan =
      shards.program({"run", shards.config(), "--shard", "2/2", "--dry-run"});
  CHECK(plan.out.find("shard 2/2: 10 of 20 runs") != std::string::npos);
  CHECK(!fs::exists(shards.file("o.h5.shards")));
  REQUIRE(shards.program({"run", shards.config(), "--shard", "2/2"}).code == 0);
  CHECK(fs::exists(shards.file("o.h5.shards/2-of-2.h5")));
}

TEST_CASE("kills at any moment cost a shard the run in flight, no more") {
  const Shards shards;
  REQUIRE(shards.program({"run", shards.config(), "-o", shards.whole()}).code == 0);
  REQUIRE(shards.run_shard(2, 2).code == 0);
  ProgramOptions shell;
  shell.program = "/bin/bash";
  int kills = 0;
  for (int i = 0; i < 25; ++i) {
    const std::string after = "0.0" + std::to_string(10 + 7 * i % 83);  // seconds
    const auto killed = run_program(
        {"-c", "exec timeout -s KILL " + after + " \"$0\" run \"$1\" --shard 1/2 -o \"$2\"",
         DOUBLEP_PROGRAM, shards.config(), shards.shard(1, 2)},
        fs::path(shards.config()).parent_path(), shell);
    kills += killed.code == 137;
    if (killed.code == 0 && i < 20) fs::remove(shards.shard(1, 2));
  }
  CHECK(kills >= 10);
  const ProgramResult last = shards.run_shard(1, 2);
  INFO(last.err);
  REQUIRE(last.code == 0);
  const ProgramResult merged = shards.merge({shards.shard(1, 2), shards.shard(2, 2)});
  INFO(merged.err);
  CHECK(merged.code == 0);
  CHECK(shards.csv(shards.file("merged.h5")) == shards.csv(shards.whole()));
}

TEST_CASE("bad shards are refused before anything is run, and none replaces another") {
  const Shards shards;
  for (const char* bad : {"0/3", "4/3", "x", "", "1/3/4"}) {
    const auto refused =
        shards.program({"run", shards.config(), "-o", shards.file("r.h5"), "--shard", bad});
    INFO(refused.err);
    CHECK(refused.code == 2);
    CHECK(is_one_clear_line(refused.err, {"--shard", "i/n"}));
  }
  const auto many =
      shards.program({"run", shards.config(), "-o", shards.file("r.h5"), "--shard", "1/21"});
  CHECK(many.code == 2);
  CHECK(is_one_clear_line(many.err, {"s.yaml", "20 runs", "21 shards"}));
  CHECK(!fs::exists(shards.file("r.h5")));
  REQUIRE(shards.run_shard(1, 20).code == 0);
  const std::string before = slurp(shards.shard(1, 20));
  const auto other =
      shards.program({"run", shards.config(), "-o", shards.shard(1, 20), "--shard", "2/20"});
  CHECK(other.code == 2);
  CHECK(is_one_clear_line(other.err, {"holds shard 1/20", "shard 2/20", "--output"}));
  CHECK(slurp(shards.shard(1, 20)) == before);
  const SmallSweep whole;
  REQUIRE(whole.run().code == 0);
  const auto part = whole.program({"run", whole.config(), "-o", whole.result(), "--shard", "1/2"});
  CHECK(part.code == 2);
  CHECK(is_one_clear_line(part.err, {"holds a whole sweep", "shard 1/2"}));
}

TEST_CASE("merge refuses overlaps, gaps, other configurations and what is no shard") {
  const Shards shards;
  const std::vector<std::string> files = shards.run_all(3);
  shards.expect_refusal(
      shards.merge({files[0], files[2]}),
      {"shard 2/3 is missing", "of 20 runs", "the first {policy: ", " on ", "--shard i/3"});
  shards.expect_refusal(shards.merge({files[1]}), {"2 shards 1/3, 3/3 are missing"});
  shards.expect_refusal(shards.merge({files[0], files[1], files[2], files[1]}),
                        {files[1] + ": is shard 2/3, and so is"});
  const std::vector<std::string> halves = shards.run_all(2);
  shards.expect_refusal(shards.merge({files[0], halves[1]}),
                        {halves[1], "is shard 2/2", files[0] + " is 1/3"});
  REQUIRE(shards.program({"run", shards.config(), "-o", shards.whole()}).code == 0);
  shards.expect_refusal(shards.merge({files[0], shards.whole()}),
                        {shards.whole(), "the whole of a sweep"});
  shards.expect_refusal(shards.merge({files[0], needle_4k()}), {needle_4k(), "no doublep-result"});
  shards.expect_refusal(shards.merge({files[0], shards.file("none.h5")}), {"none.h5"});
  shards.expect_refusal(shards.program({"merge", files[0], files[1], files[2], "-o", files[2]}),
                        {files[2], "would destroy"});
  // Another configuration: one more step.
  const auto other = shards.program({"run", shards.config(), "--set", "replay.max_steps=3", "-o",
                                     shards.file("other.h5"), "--shard", "2/3"});
  REQUIRE(other.code == 0);
  shards.expect_refusal(shards.merge({files[0], shards.file("other.h5"), files[2]}),
                        {"other.h5: is of another sweep than " + files[0]});
  CHECK(shards.program({"merge"}).code == 2);
  CHECK(shards.program({"merge", files[0]}).code == 2);
}

TEST_CASE("merge refuses another build's shards, runs that stand twice or nowhere, and damage") {
  const Shards shards;
  const std::vector<std::string> files = shards.run_all(3);
  const std::string good = slurp(files[1]);
  rewrite(files[1], [&](hid_t, hid_t runs) {
    const std::string key = h5::children(runs).at(0);
    RunContent run = read_run(runs, key, files[1]);
    run.attributes["program_hash"] = "0123456789abcdef";
    H5Ldelete(runs, key.c_str(), H5P_DEFAULT);
    write_run(runs, key, run, files[1]);
  });
  shards.expect_refusal(shards.merge(files), {files[1], "another build", "--any-program"});
  CHECK(shards.merge(files, {"--any-program"}).code == 0);
  fs::remove(shards.file("merged.h5"));

  fs::copy_file(files[0], files[1], fs::copy_options::overwrite_existing);
  rewrite(files[1], [&](hid_t root, hid_t) {
    H5Adelete(root, "shard");
    h5::write_int(root, "shard", 2);
  });
  shards.expect_refusal(shards.merge(files), {files[1], "stands in " + files[0] + " too"});

  spill(files[1], good);
  rewrite(files[1], [&](hid_t, hid_t runs) {
    H5Ldelete(runs, h5::children(runs).at(0).c_str(), H5P_DEFAULT);
  });
  shards.expect_refusal(shards.merge(files), {"have no run {policy: "});

  spill(files[1], good);
  rewrite(files[1], [&](hid_t root, hid_t) {
    H5Adelete(root, "shard");
    h5::write_int(root, "shard", 4);
  });
  shards.expect_refusal(shards.merge(files), {files[1], "shard 4 of 3", "damaged"});

  int refused = 0;
  const std::size_t stride = good.size() / 60 | 1;
  REQUIRE((spill(files[1], good), shards.merge(files).code == 0));
  const std::string merged = shards.csv(shards.file("merged.h5"));
  fs::remove(shards.file("merged.h5"));
  for (std::size_t i = stride / 2; i < good.size(); i += stride) {
    std::string damaged = good;
    damaged[i] = static_cast<char>(damaged[i] ^ 0xff);
    spill(files[1], damaged);
    const ProgramResult outcome = shards.merge(files);
    INFO("byte " << i);
    if (outcome.code != 0) {
      ++refused;
      shards.expect_refusal(outcome, {files[1]});
    } else {  // room that no object uses
      CHECK(shards.csv(shards.file("merged.h5")) == merged);
      fs::remove(shards.file("merged.h5"));
    }
  }
  CHECK(refused > 15);
}

TEST_CASE("a full disk leaves no half of a merged file") {
  const Shards shards;
  const std::vector<std::string> files = shards.run_all(2);
  const auto full = run_program({"merge", files[0], files[1], "-o", shards.file("merged.h5")},
                                fs::path(shards.config()).parent_path(), {4096, {}});
  shards.expect_refusal(full, {"merged.h5", "free some room"});
}
