// `doublep submit` with programs in the place of Slurm's: what is handed over, what is handed over
// again, and what is said where something is missing. A real Slurm is in tests/slurm.
#include <stdlib.h>

#include <filesystem>

#include "experiments/shards/shard.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/small_sweep.h"

using namespace doublep;
using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

// A folder with an sbatch and an squeue goes before the rest of PATH. sbatch notes the array that
// it got, and runs its tasks at once but those of the file `lost`; squeue says what stands in
// `queue`.
class FakeSlurm {
 public:
  FakeSlurm() : small_("toy.h5", "  - {policy: streaming, window: [1, 2, 3]}\n") {
    const std::string bin = file("bin");
    fs::create_directory(bin);
    program(bin + "/sbatch",
            "[ \"$1\" = --parsable ] || exit 9\n"
            "array=$(sed -n 's/^#SBATCH --array=//p' \"$2\")\n"
            "echo \"$array\" >> " +
                file("calls") +
                "\n"
                "for range in $(echo $array | tr , ' '); do\n"
                "  for task in $(seq ${range%-*} ${range#*-}); do\n"
                "    grep -qx $task " +
                file("lost") +
                " && continue\n"
                "    SLURM_ARRAY_TASK_ID=$task sh \"$2\" 2>/dev/null >/dev/null\n"
                "  done\n"
                "done\n"
                "echo '41;cluster'\n");
    program(bin + "/squeue", "cat " + file("queue") + "\n");
    lose(""), queue("");
    const char* path = getenv("PATH");
    path_ = path ? path : "";
    setenv("PATH", (bin + ":" + path_).c_str(), 1);
  }
  ~FakeSlurm() { setenv("PATH", path_.c_str(), 1); }

  std::string file(const std::string& name) const { return small_.file(name); }
  std::string result() const { return small_.result(); }
  std::string shard(int index, int count) const { return shard_path(result(), {index, count}); }
  void lose(const std::string& tasks) const { spill(file("lost"), tasks); }
  void queue(const std::string& tasks) const { spill(file("queue"), tasks); }
  void program(const std::string& path, const std::string& script) const {
    spill(path, "#!/bin/sh\n" + script);
    fs::permissions(path, fs::perms::owner_all);
  }
  /// The arrays that sbatch got since this was asked last.
  std::string calls() const {
    const std::string all = fs::exists(file("calls")) ? slurp(file("calls")) : "";
    fs::remove(file("calls"));
    return all;
  }
  ProgramResult submit(const std::vector<std::string>& more = {}, const char* nodes = "3") const {
    std::vector<std::string> all = {"submit", small_.config(), "-o", result(), "--nodes", nodes};
    all.insert(all.end(), more.begin(), more.end());
    return small_.program(all);
  }
  const SmallSweep& sweep() const { return small_; }

 private:
  SmallSweep small_;
  std::string path_;
};

}  // namespace

TEST_CASE("submit hands over what is missing and not queued, and merges when all is there") {
  const FakeSlurm slurm;
  REQUIRE(slurm.sweep().program({"run", slurm.sweep().config(), "-o", slurm.file("w.h5")}).code ==
          0);
  const std::string good = slurm.sweep().program({"export", slurm.file("w.h5")}).out;

  slurm.lose("1\n2\n3\n");
  ProgramResult said = slurm.submit();
  INFO(said.err);
  CHECK(said.code == 0);
  CHECK(contains(said.out, "job 41 of Slurm: shards 1/3, 2/3, 3/3\n"));
  CHECK(slurm.calls() == "1-3\n");
  CHECK(!fs::exists(slurm.result()));

  slurm.queue("1\n3\n"), slurm.lose("2\n");  // and of the others Slurm has lost the second
  said = slurm.submit();
  CHECK(said.code == 0);
  CHECK(contains(said.out, "job 41 of Slurm: shard 2/3\n2 of 3 shards are queued or running\n"));
  CHECK(slurm.calls() == "2\n");

  slurm.queue("");
  said = slurm.submit({"--wait"});
  CHECK(said.code == 1);
  CHECK(is_one_clear_line(said.err, {"shard 2/3 came to nothing", "2-of-3.log", "same command"}));
  CHECK(slurm.calls() == "1-3\n");
  CHECK(!fs::exists(slurm.result()));

  // A shard that rots is a missing one.
  std::string bytes = slurp(slurm.shard(3, 3));
  for (std::size_t i = bytes.size() / 3; i < bytes.size() / 2; ++i) bytes[i] ^= 0x5A;
  spill(slurm.shard(3, 3), bytes);
  slurm.lose("");
  said = slurm.submit({"--wait"});
  INFO(said.err);
  CHECK(said.code == 0);
  CHECK(slurm.calls() == "2-3\n");
  CHECK(contains(said.out, "5 runs of 3 shards in "));
  CHECK(slurm.sweep().export_csv().out == good);
  for (int index = 1; index <= 3; ++index) CHECK(!fs::exists(slurm.shard(index, 3)));

  said = slurm.submit();
  CHECK(said.code == 0);
  CHECK(contains(said.out, "all of the sweep is there already"));
  CHECK(slurm.calls().empty());
}

TEST_CASE("shards that were run by hand count, of another number they do not") {
  const FakeSlurm slurm;
  for (const char* shard : {"1/2", "2/2"})
    REQUIRE(slurm.sweep()
                .program({"run", slurm.sweep().config(), "-o", slurm.shard(shard[0] - '0', 2),
                          "--shard", shard})
                .code == 0);
  const ProgramResult other = slurm.submit();
  CHECK(other.code == 2);
  CHECK(is_one_clear_line(other.err, {"-of-2.h5", "another number of shards than --nodes 3"}));
  const ProgramResult merged = slurm.submit({}, "2");
  INFO(merged.err);
  CHECK(merged.code == 0);
  CHECK(contains(merged.out, "5 runs of 2 shards in "));
  CHECK(slurm.calls().empty());
  // Of another configuration they are missing.
  fs::remove(slurm.result());
  REQUIRE(slurm.sweep()
              .program({"run", slurm.sweep().config(), "-o", slurm.shard(1, 2), "--shard", "1/2",
                        "--set", "replay.max_steps=1"})
              .code == 0);
  slurm.lose("1\n2\n");
  CHECK(slurm.submit({}, "2").code == 0);
  CHECK(slurm.calls() == "1-2\n");
}

TEST_CASE("without sbatch there is one clear line, or the script alone") {
  const FakeSlurm slurm;
  fs::remove(slurm.file("bin/sbatch")), fs::remove(slurm.file("bin/squeue"));
  const std::string path = getenv("PATH");
  setenv("PATH", slurm.file("bin").c_str(), 1);
  const ProgramResult refused = slurm.submit();
  const ProgramResult script = slurm.submit(
      {"--script-only", "--gpus", "--sbatch", "--time=5", "--set", "seed=3", "--jobs", "2"});
  setenv("PATH", path.c_str(), 1);
  CHECK(refused.code == 2);
  CHECK(is_one_clear_line(refused.err, {"sbatch: is not on PATH", "--script-only"}));
  INFO(script.err);
  CHECK(script.code == 0);
  const std::string name = slurm.result() + ".shards/job.sh", text = slurp(name);
  CHECK(contains(script.out, name + ": shards 1/3, 2/3, 3/3, for sbatch"));
  for (const char* line : {"#SBATCH --array=1-3\n", "#SBATCH --gres=gpu:1\n", "#SBATCH --time=5\n",
                           "#SBATCH --cpus-per-task=2\n", " --set seed=3 "})
    CHECK(contains(text, line));
  // It is what sbatch would run.
  for (const char* task : {"1", "2", "3"}) {
    ProgramOptions shell;
    shell.program = "/bin/sh";
    const auto ran =
        run_program({"-c", "SLURM_ARRAY_TASK_ID=$1 sh \"$0\"", name, task}, slurm.file("."), shell);
    INFO(ran.err);
    CHECK(ran.code == 0);
  }
  // An squeue that cannot be asked; an sbatch is there, but nothing is left for it to do.
  slurm.program(slurm.file("bin/sbatch"), "exit 9\n");
  slurm.program(slurm.file("bin/squeue"), "echo no controller\nexit 1\n");
  const ProgramResult merged = slurm.submit({"--set", "seed=3"});
  INFO(merged.out << merged.err);
  CHECK(merged.code == 2);
  CHECK(is_one_clear_line(merged.err, {"squeue: failed, saying: no controller"}));
  CHECK(slurm.submit({"--set", "seed=3", "--script-only"}).code == 0);
  CHECK(fs::exists(slurm.result()));
}

TEST_CASE("variables of the user's do not hide the shards from whoever submits them") {
  const FakeSlurm slurm;
  const std::vector<std::string> names = {"SQUEUE_STATES", "SQUEUE_USERS", "SBATCH_JOB_NAME"};
  for (const std::string& name : names) setenv(name.c_str(), "mine", 1);
  slurm.program(slurm.file("bin/squeue"),
                "[ -z \"$SQUEUE_STATES$SQUEUE_USERS$SBATCH_JOB_NAME\" ] || exit 1\necho 2\n");
  const ProgramResult ran = slurm.submit();
  for (const std::string& name : names) unsetenv(name.c_str());
  INFO(ran.out << ran.err);
  CHECK(ran.code == 0);
  CHECK(slurm.calls() == "1,3\n");  // the second is queued
}

TEST_CASE("what Slurm refuses is said in one line, and bad arguments before Slurm is asked") {
  const FakeSlurm slurm;
  slurm.program(slurm.file("bin/sbatch"),
                "echo 'sbatch: error: invalid partition: no' >&2\n"
                "echo 'sbatch: error: Batch job submission failed' >&2\nexit 1\n");
  const ProgramResult refused = slurm.submit({"--sbatch", "--partition=no"});
  CHECK(refused.code == 2);
  CHECK(is_one_clear_line(refused.err, {"sbatch: failed, saying: ", "invalid partition: no",
                                        "call doublep submit again"}));
  slurm.program(slurm.file("bin/squeue"), "echo 'slurm_load_jobs error: no contact' >&2; exit 1\n");
  const ProgramResult away = slurm.submit();
  CHECK(away.code == 2);
  CHECK(is_one_clear_line(away.err, {"squeue: failed, saying: slurm_load_jobs error"}));
  for (const char* nodes : {"0", "-2", "6"}) {
    const ProgramResult bad = slurm.submit({}, nodes);
    INFO(bad.err);
    CHECK(bad.code == 2);
    CHECK(
        is_one_clear_line(bad.err, {nodes[0] == '6' ? "5 runs, fewer than 6 shards" : "--nodes"}));
  }
  const ProgramResult array = slurm.submit({"--script-only", "--sbatch", "--array=1-9"});
  CHECK(array.code == 2);
  CHECK(is_one_clear_line(array.err, {"--array", "leave it to doublep submit"}));
  CHECK(!fs::exists(slurm.result() + ".shards/job.sh.partial"));
  CHECK(slurm.submit({}, "x").code == 2);
}
