// The script that Slurm gets: what a shell and sbatch make of it.
#include "experiments/shards/slurm.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::test;

namespace {

JobArray example() {
  JobArray job;
  job.name = "doublep-0123", job.output = "/results/r.h5", job.folder = "/work";
  job.command = {"/bin/doublep", "run", "s.yaml"}, job.tasks = {1, 3, 4, 5, 9}, job.count = 9;
  return job;
}

bool has_line(const std::string& text, const std::string& line) {
  return contains("\n" + text, "\n" + line + "\n");
}

}  // namespace

TEST_CASE("a job's script names its tasks, and what the user asked of sbatch comes last") {
  JobArray job = example();
  std::string text = job_script(job);
  CHECK(text.rfind("#!/bin/sh\n", 0) == 0);
  CHECK(has_line(text, "#SBATCH --job-name=doublep-0123"));
  CHECK(has_line(text, "#SBATCH --array=1,3-5,9"));
  CHECK(has_line(text, "#SBATCH --output=\"/results/r.h5.shards/%a-of-9.log\" --open-mode=append"));
  CHECK(has_line(text, "cd /work || exit 2"));
  CHECK(!contains(text, "gres"));
  CHECK(contains(text, "--jobs \"${SLURM_CPUS_ON_NODE:-0}\""));
  job.gpu = true, job.jobs = 8, job.directives = {"--partition=long --time=1:00:00", "--mem=8G"};
  text = job_script(job);
  CHECK(has_line(text, "#SBATCH --gres=gpu:1"));
  CHECK(has_line(text, "#SBATCH --cpus-per-task=8"));
  CHECK(contains(text, "--jobs 8\n"));
  CHECK(contains(text, "#SBATCH --partition=long --time=1:00:00\n#SBATCH --mem=8G\n\ncd "));
}

TEST_CASE("whatever stands in paths and overrides reaches the program as it was") {
  const TempDir dir;
  const std::string folder = dir.file("a b'c"), program = dir.file("print $HOME");
  std::filesystem::create_directory(folder);
  spill(program, "#!/bin/sh\npwd\nfor word; do printf '<%s>\\n' \"$word\"; done\n");
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  JobArray job = example();
  job.folder = folder, job.output = dir.file("50% 'x'.h5");
  job.command = {program, "run", "it's", "$HOME", "`id`", "", "a\nb", "--set", "traces=[a, \"b\"]"};
  spill(dir.file("job.sh"), job_script(job));
  ProgramOptions options;
  options.program = "/bin/sh";
  const auto ran = run_program(
      {"-c", "SLURM_ARRAY_TASK_ID=3 SLURM_CPUS_ON_NODE=5 sh \"$0\"", dir.file("job.sh")},
      dir.path(), options);
  INFO(ran.err);
  CHECK(ran.code == 0);
  CHECK(ran.out ==
        folder +
            "\n<run>\n<it's>\n<$HOME>\n<`id`>\n<>\n<a\nb>\n<--set>\n<traces=[a, \"b\"]>\n"
            "<--shard>\n<3/9>\n<--output>\n<" +
            job.output + ".shards/3-of-9.h5>\n<--jobs>\n<5>\n");
  CHECK(contains(job_script(job), "/50%% 'x'.h5.shards/%a-of-9.log\""));
}

TEST_CASE("what would break the script is refused") {
  for (const char* bad : {"", "--time=1\n#SBATCH --wrap=x", "--array=1-4", "--time=1 -a 3", "-a1-4",
                          "--job-name=x", "-J x", "--arr=1-2", "--job-n=x"}) {
    JobArray job = example();
    job.directives = {bad};
    INFO(bad);
    CHECK(contains(message_of([&] { job_script(job); }), "--sbatch '"));
  }
  for (const char* bad : {"/a\"b.h5", "/a\nb.h5", "/a\\b.h5"}) {
    JobArray job = example();
    job.output = bad;
    CHECK(contains(message_of([&] { job_script(job); }), "cannot stand in a job's script"));
  }
}
