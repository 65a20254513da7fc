// Reads a result file back: for export, the gate and the tuner.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/trace/hdf5/h5.h"
#include "experiments/results/stored_run.h"
#include "experiments/shards/shard.h"

namespace doublep {

struct StoredTrace {
  std::string name, hash, model, task;
  std::int64_t num_tokens = 0, num_query_heads = 0, num_kv_heads = 0, head_dim = 0, num_steps = 0;
};

/// How people tell traces apart: by name, and where two have one name by "toy (1111aaaa)", with
/// the first digits of the hash.
class TraceNames {
 public:
  void add(const std::string& name, const std::string& hash) { hashes_[name].insert(hash); }
  /// Of one that was added.
  std::string of(const std::string& name, const std::string& hash) const {
    return hashes_.at(name).size() == 1 ? name : name + " (" + hash.substr(0, 8) + ")";
  }

 private:
  std::map<std::string, std::set<std::string>> hashes_;
};

struct StoredRun {
  std::string key, policy, backend, label, parameters, kv_dtype;
  std::size_t trace = 0;  ///< index into ResultFile::traces
  std::int64_t order = 0, seed = 0;
  double target_p = 0, seconds = 0;
  double target_error = 0;  ///< NaN: none promised
  std::vector<Row> rows;
  std::vector<LayerSummary> layers;
};

struct ResultFile {
  std::string path, name, config, config_hash, commit, program_hash, created;
  std::optional<Shard> shard;  ///< what part of the sweep it is, where it is not the whole
  std::vector<StoredTrace> traces;
  std::vector<StoredRun> runs;  ///< in the order of the sweep

  /// Of the trace of this index.
  std::string trace_name(std::size_t trace) const;

  /// Reads all of it and checks every hash. Throws InputError that names file and object.
  static ResultFile load(const std::string& path);
};

/// Of RESULT_FORMAT.md. It rises with whatever a reader requires: a file of another version is
/// refused.
inline constexpr std::int64_t kResultVersion = 3;

/// The hash of a result's root: its attributes, its traces', and its runs' hashes by key. `file` is
/// for messages, here and below.
std::string root_hash(hid_t root, const std::string& file);

/// Opens a result of this version. Throws InputError for any other file.
h5::Handle open_result(const std::string& file);
/// Throws InputError where the root's attributes, `all`, or a trace's are not what was written. Its
/// runs are read before: where one is damaged, it is named.
void check_root(hid_t root, const Attributes& all, const std::string& file);
/// The root's attributes `shard` and `shards`, which the whole of a sweep does not have.
std::optional<Shard> shard_of(const Attributes& root, const std::string& file);
void set_shard(Attributes& root, const std::optional<Shard>& shard);

}  // namespace doublep
