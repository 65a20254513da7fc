// Slurm, as far as a sweep's shards need it: the script of a job array, and the two programs that
// take one and tell of it.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "experiments/shards/shard.h"

namespace doublep {

struct JobArray {
  std::string name;                     ///< of the job, by which its tasks are found again
  std::string output;                   ///< of the whole sweep; absolute, shards lie below it
  std::string folder;                   ///< where the command runs; absolute
  std::vector<std::string> command;     ///< the program and `run ...`, less shard, output, threads
  std::vector<int> tasks;               ///< indices of the shards that are wanted, ascending
  int count = 1;                        ///< shards in all
  int jobs = 0;                         ///< threads a task; 0: as many as Slurm gives it
  bool gpu = false;                     ///< one GPU a task
  std::vector<std::string> directives;  ///< the user's own, each the words of an #SBATCH line
};

/// A script for sbatch: a task a shard, which writes the shard's file and a log beside it. Throws
/// InputError where a directive or the output's path cannot stand in it.
std::string job_script(const JobArray& job);
/// "OUTPUT.shards/2-of-4.log": what a task of it said.
std::string log_path(const std::string& output, const Shard& shard);

/// Throws InputError where this machine has no `sbatch` to call.
void require_slurm();
/// Hands a script to sbatch; the number of the job. Throws InputError with what sbatch said.
std::string submit_job(const std::string& script);
/// Tasks of the jobs of that name that wait, run or are about to end. Throws InputError with what
/// squeue said.
std::set<int> live_tasks(const std::string& job_name);

}  // namespace doublep
