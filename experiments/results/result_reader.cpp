#include "experiments/results/result_reader.h"

#include <algorithm>
#include <limits>

#include "core/base/error.h"
#include "core/base/text.h"

namespace doublep {
namespace {

void check_format(hid_t root, const std::string& path) {
  if (h5::read_string(root, "format", path) != "doublep-result")
    fail_input(path, ": is no doublep-result; give the file that `doublep run` wrote");
  const auto version = h5::read_int(root, "version", path);
  if (version != kResultVersion)
    fail_input(path, ": is a doublep-result of version ",
               version ? std::to_string(*version) : "unknown", ", this program reads version ",
               kResultVersion, "; run the sweep again");
}

StoredTrace trace_of(const Attributes& all, const std::string& place) {
  StoredTrace t;
  t.name = text_of(all, "name", place), t.hash = text_of(all, "hash", place);
  t.model = text_of(all, "model", place), t.task = text_of(all, "task", place);
  t.num_tokens = integer_of(all, "num_tokens", place);
  t.num_query_heads = integer_of(all, "num_query_heads", place);
  t.num_kv_heads = integer_of(all, "num_kv_heads", place);
  t.head_dim = integer_of(all, "head_dim", place);
  t.num_steps = integer_of(all, "num_steps", place);
  return t;
}

StoredRun run_of(const std::string& key, RunContent content, std::size_t num_traces,
                 const std::string& file) {
  const std::string place = concat(file, ": run ", printable(key));
  const Attributes& all = content.attributes;
  StoredRun run;
  run.key = key;
  run.policy = text_of(all, "policy", place), run.backend = text_of(all, "backend", place);
  run.label = text_of(all, "label", place), run.parameters = text_of(all, "parameters", place);
  run.kv_dtype = text_of(all, "kv_dtype", place);
  run.order = integer_of(all, "order", place), run.seed = integer_of(all, "seed", place);
  run.target_p = real_of(all, "target_p", place), run.seconds = real_of(all, "seconds", place);
  run.target_error = real_of(all, "target_error", place);
  const std::string& trace = text_of(all, "trace", place);
  const auto index = parse_integer(trace);
  if (!index || *index < 0 || *index >= static_cast<std::int64_t>(num_traces))
    fail_input(place, ": attribute trace is '", printable(trace),
               "', but there is no such group under /traces; run the sweep again");
  run.trace = static_cast<std::size_t>(*index);
  run.rows = std::move(content.rows), run.layers = std::move(content.layers);
  return run;
}

}  // namespace

std::string root_hash(hid_t root, const std::string& file) {
  Sha256 hash;
  hash.add("root\n");
  add_to_hash(read_attributes(root, file), hash);
  const h5::Handle traces = h5::open_group(root, "traces", file);
  for (const std::string& name : h5::children(traces.get())) {
    hash.add(concat("trace ", name, "\n"));
    const std::string place = concat(file, ": traces/", printable(name));
    add_to_hash(read_attributes(h5::open_group(traces.get(), name, file).get(), place), hash);
  }
  const h5::Handle runs = h5::open_group(root, "runs", file);
  for (const std::string& key : h5::children(runs.get())) {
    const h5::Handle run = h5::open_group(runs.get(), key, file);
    const auto of_run = h5::read_string(run.get(), kContentHash, file + ": run " + printable(key));
    hash.add(concat("run ", key, " ", of_run.value_or(""), "\n"));
  }
  return hash.hex();
}

h5::Handle open_result(const std::string& file) {
  h5::Handle opened = h5::open_file(file);
  check_format(opened.get(), file);
  return opened;
}

void check_root(hid_t root, const Attributes& all, const std::string& file) {
  if (text_of(all, kContentHash, file) != root_hash(root, file))
    fail_input(file,
               ": attributes of the file or of a trace are not what was written, the file is "
               "damaged; run the sweep again, which keeps its runs");
}

namespace {
constexpr const char* kShard = "shard";
constexpr const char* kShards = "shards";
}  // namespace

std::optional<Shard> shard_of(const Attributes& root, const std::string& file) {
  if (root.count(kShard) + root.count(kShards) == 0) return std::nullopt;
  const std::int64_t index = integer_of(root, kShard, file),
                     count = integer_of(root, kShards, file);
  if (index < 1 || index > count || count > std::numeric_limits<int>::max())
    fail_input(file, ": says that it is shard ", index, " of ", count,
               "; the file is damaged, run the shard again");
  return Shard{static_cast<int>(index), static_cast<int>(count)};
}

void set_shard(Attributes& root, const std::optional<Shard>& shard) {
  root.erase(kShard), root.erase(kShards);
  if (shard) root[kShard] = std::int64_t{shard->index}, root[kShards] = std::int64_t{shard->count};
}

std::string ResultFile::trace_name(std::size_t trace) const {
  TraceNames names;
  for (const StoredTrace& one : traces) names.add(one.name, one.hash);
  return names.of(traces[trace].name, traces[trace].hash);
}

ResultFile ResultFile::load(const std::string& path) {
  const h5::Handle file = open_result(path);
  const hid_t root = file.get();
  const Attributes all = read_attributes(root, path);
  ResultFile result;
  result.path = path;
  result.name = text_of(all, "name", path), result.config = text_of(all, "config", path);
  result.config_hash = text_of(all, "config_hash", path);
  result.commit = text_of(all, "commit", path), result.created = text_of(all, "created", path);
  result.program_hash = text_of(all, "program_hash", path), result.shard = shard_of(all, path);
  const h5::Handle traces = h5::open_group(root, "traces", path);
  const std::size_t count = h5::children(traces.get()).size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::string name = std::to_string(i), place = concat(path, ": traces/", name);
    const h5::Handle group = h5::open_group(traces.get(), name, place);
    result.traces.push_back(trace_of(read_attributes(group.get(), place), place));
  }
  const h5::Handle runs = h5::open_group(root, "runs", path);
  for (const std::string& key : h5::children(runs.get()))
    result.runs.push_back(run_of(key, read_run(runs.get(), key, path), result.traces.size(), path));
  if (result.runs.empty()) fail_input(path, ": holds no run; run the sweep again");
  check_root(root, all, path);
  std::sort(result.runs.begin(), result.runs.end(),
            [](const auto& a, const auto& b) { return a.order < b.order; });
  return result;
}

}  // namespace doublep
