#include "experiments/shards/slurm.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "core/base/error.h"

namespace doublep {
namespace {

// As one word of a POSIX shell.
std::string quoted(const std::string& word) {
  const auto plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string("/._-=+:,@").find(c) != std::string::npos;
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), plain)) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

std::string quoted(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + quoted(word);
  return text;
}

// As sbatch reads ranges: "1,3-5".
std::string ranges(const std::vector<int>& numbers) {
  std::string text;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    text += concat(text.empty() ? "" : ",", numbers[i]);
    if (end - i > 1) text += concat("-", numbers[end - 1]);
    i = end;
  }
  return text;
}

bool has_control(const std::string& text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 127; });
}

// In the quotes of an #SBATCH line, where % begins a field.
std::string log_pattern(const std::string& path) {
  if (has_control(path) || path.find_first_of("\"\\") != std::string::npos)
    fail_input(path,
               ": cannot stand in a job's script; choose an output without quotes, "
               "backslashes and control characters");
  std::string text;
  for (const char c : path) text += c == '%' ? std::string("%%") : std::string(1, c);
  return text;
}

// Array and name are what tells tasks and shards apart.
void check_directive(const std::string& words) {
  if (words.empty() || has_control(words))
    fail_input("--sbatch '", words, "': expected options of sbatch, such as --partition=long");
  std::istringstream in(words);
  for (std::string word; in >> word;)
    for (const std::string ours : {"--array", "-a", "--job-name", "-J"}) {
      const std::string option = word.substr(0, word.find('='));  // sbatch takes it cut short, too
      if (ours.size() > 2 ? option.size() > 3 && ours.rfind(option, 0) == 0
                          : word.rfind(ours, 0) == 0)
        fail_input("--sbatch '", words, "': ", ours,
                   " belongs to the shards; leave it to doublep submit");
    }
}

// What a program of Slurm says, both streams; InputError where it fails. Variables of the user's
// own that would go before a script's lines, or hide jobs, are kept from it.
std::string answer_of(const std::vector<std::string>& words) {
  std::string command = "env";
  for (const char* name :
       {"SBATCH_JOB_NAME", "SBATCH_ARRAY_INX", "SBATCH_OUTPUT", "SBATCH_OPEN_MODE",
        "SBATCH_NO_REQUEUE", "SQUEUE_ACCOUNT", "SQUEUE_ARRAY", "SQUEUE_FORMAT", "SQUEUE_FORMAT2",
        "SQUEUE_LICENSES", "SQUEUE_NAMES", "SQUEUE_PARTITION", "SQUEUE_QOS", "SQUEUE_STATES",
        "SQUEUE_USERS"})
    command += concat(" -u ", name);
  FILE* pipe = ::popen((command + " " + quoted(words) + " 2>&1").c_str(), "r");
  if (!pipe) fail_input(words[0], ": could not be started; is there memory for a process?");
  std::string text;
  std::array<char, 4096> block;
  while (const std::size_t n = std::fread(block.data(), 1, block.size(), pipe))
    text.append(block.data(), n);
  if (::pclose(pipe) == 0) return text;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  fail_input(words[0], ": failed, saying: ", text.empty() ? "nothing" : text,
             "; mend that, and call doublep submit again");
}

}  // namespace

std::string log_path(const std::string& output, const Shard& shard) {
  return std::filesystem::path(shard_path(output, shard)).replace_extension(".log").string();
}

std::string job_script(const JobArray& job) {
  for (const std::string& words : job.directives) check_directive(words);
  const std::string folder = job.output + ".shards/", of = concat("-of-", job.count);
  std::ostringstream out;
  out << "#!/bin/sh\n"
      << "# The shards of a sweep as a job array of Slurm, a task each: " << job.tasks.size()
      << " of " << job.count << ".\n"
      << "# Written by `doublep submit`, which may be called again at any time: it submits the "
         "shards\n"
      << "# that are neither there nor queued, and merges when all are there. A task that is "
         "started\n"
      << "# again continues: finished runs are kept.\n"
      << "#SBATCH --job-name=" << job.name << "\n"
      << "#SBATCH --array=" << ranges(job.tasks) << "\n"
      << "#SBATCH --nodes=1 --ntasks=1 --requeue\n"
      << "#SBATCH --output=\"" << log_pattern(folder) << "%a" << of
      << ".log\" --open-mode=append\n";
  if (job.jobs > 0) out << "#SBATCH --cpus-per-task=" << job.jobs << "\n";
  if (job.gpu) out << "#SBATCH --gres=gpu:1\n";
  for (const std::string& words : job.directives) out << "#SBATCH " << words << "\n";
  out << "\ncd " << quoted(job.folder) << " || exit 2\n"
      << "exec " << quoted(job.command) << " \\\n"
      << "  --shard \"$SLURM_ARRAY_TASK_ID/" << job.count << "\" \\\n"
      << "  --output " << quoted(folder) << "\"$SLURM_ARRAY_TASK_ID" << of << ".h5\" \\\n"
      << "  --jobs " << (job.jobs > 0 ? std::to_string(job.jobs) : "\"${SLURM_CPUS_ON_NODE:-0}\"")
      << "\n";
  return out.str();
}

void require_slurm() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');)
    if (::access((folder + "/sbatch").c_str(), X_OK) == 0) return;
  fail_input(
      "sbatch: is not on PATH; call this where Slurm is installed, or write the script with "
      "--script-only, or run the shards yourself with `doublep run --shard`");
}

std::string submit_job(const std::string& script) {
  const std::string said = answer_of({"sbatch", "--parsable", script});
  std::istringstream lines(said);
  for (std::string line; std::getline(lines, line);)
    if (const auto number = line.substr(0, line.find(';')); parse_integer(number)) return number;
  fail_input("sbatch: named no job, but said: ", said, "; look for it with squeue");
}

std::set<int> live_tasks(const std::string& job_name) {
  std::istringstream lines(
      answer_of({"squeue", "--noheader", "--array", "--name=" + job_name, "--format=%K"}));
  std::set<int> tasks;
  for (std::string line; std::getline(lines, line);)
    if (const auto task = parse_integer(line.substr(0, line.find(' '))))
      tasks.insert(static_cast<int>(*task));
  return tasks;
}

}  // namespace doublep
