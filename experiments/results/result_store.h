// Results on disk. A run is written whole to a part file as soon as it is done; the sweep's file is
// put together from the parts at the end and renamed into place. So an interruption at any moment
// loses the run in flight at most, and never damages what was there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/trace/trace.h"
#include "experiments/config/sweep.h"
#include "experiments/results/stored_run.h"
#include "experiments/shards/shard.h"

namespace doublep {

/// 16 hex digits over everything that determines a run's rows, but the program.
std::string run_key(const Sweep& sweep, const RunSpec& run, const std::string& trace_hash);

/// Of a run on a part of a layer alone.
std::string piece_key(const std::string& run_key, const LayerPart& part);

/// The resolved configuration: every default spelled out, one run a line. Its canonical part leaves
/// out paths, so that config_hash is the same wherever the files lie.
std::string resolved_config(const Sweep& sweep, const std::vector<std::string>& trace_hashes);
std::string config_hash(const Sweep& sweep, const std::vector<std::string>& trace_hashes);
/// The runs that a resolved configuration lists, a line of it each; a sweep does them on each of
/// its traces, one trace after the other.
std::vector<std::string> listed_runs(const std::string& resolved_config);

struct FinishedRun {
  std::string key;
  int order = 0;
  const RunSpec* spec = nullptr;
  std::string trace;  ///< name of the group under /traces
  double seconds = 0;
};

class ResultStore {
 public:
  /// Takes hold of the output path: creates its folder and `<output>.parts`, and locks it against a
  /// second writer. `shard`: the file says what it is a shard of; it replaces no other one of the
  /// sweep, and not the whole. Throws InputError.
  explicit ResultStore(const Sweep& sweep, const std::optional<Shard>& shard = {});
  ~ResultStore();
  ResultStore(const ResultStore&) = delete;  // one owner of the lock
  ResultStore& operator=(const ResultStore&) = delete;

  /// Is this run there already, sound, from this program? (`any_program`: from any.)
  bool has(const std::string& key, bool any_program) const;
  void write(const FinishedRun& run, ReplayResult result);
  /// Writes a run from those of its pieces, which were written under keys of their own and go; its
  /// time is theirs. Throws InputError where one is not there any more.
  void join(FinishedRun run, const std::vector<std::string>& pieces);
  /// Writes the sweep's file and removes the parts.
  void finish(const std::vector<FinishedRun>& runs, const std::vector<const Trace*>& traces);

 private:
  std::string part_path(const std::string& key) const;
  std::string checksum_path(const std::string& key) const;
  bool part_is_sound(const std::string& key) const;
  std::optional<RunContent> find(const std::string& key, bool any_program) const;
  void write_root(hid_t root, const std::vector<const Trace*>& traces) const;
  void remove_part(const std::string& key) const;
  void remove_parts(const std::vector<FinishedRun>& runs) const;

  const Sweep& sweep_;
  const std::optional<Shard> shard_;
  std::string parts_;
  int lock_ = -1;
};

}  // namespace doublep
