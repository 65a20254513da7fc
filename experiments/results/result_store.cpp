#include "experiments/results/result_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "core/base/output.h"
#include "core/base/parallel.h"
#include "experiments/results/image.h"
#include "experiments/results/result_reader.h"

namespace doublep {
namespace {

namespace fs = std::filesystem;

Attributes trace_attributes(const Trace& trace) {
  const TraceInfo& info = trace.info();
  return {{"name", info.name},
          {"path", info.path},
          {"hash", trace.content_hash()},
          {"model", info.model},
          {"task", info.task},
          {"num_tokens", info.num_tokens},
          {"num_query_heads", std::int64_t{info.num_query_heads}},
          {"num_kv_heads", std::int64_t{info.num_kv_heads}},
          {"head_dim", std::int64_t{info.head_dim}},
          {"num_steps", info.num_steps()},
          {"layers", std::vector<std::int64_t>(info.layers.begin(), info.layers.end())}};
}

Attributes run_attributes(const FinishedRun& run, const ReplayResult& result, KvDtype kv_dtype) {
  Attributes all;
  for (const auto& [name, value] : provenance()) all.emplace(name, value);
  all["policy"] = run.spec->policy;
  all["backend"] = run.spec->backend;
  all["parameters"] = run.spec->parameters_json();
  all["seed"] = static_cast<std::int64_t>(run.spec->seed);
  all["kv_dtype"] = std::string(name_of(kv_dtype));
  all["target_p"] = result.target_p;
  all["target_error"] = result.target_error;
  all["seconds"] = run.seconds;
  std::vector<std::int64_t> layers;
  for (const LayerSummary& layer : result.layers) layers.push_back(layer.layer);
  all["layers_replayed"] = std::move(layers);
  all["steps_replayed"] = result.steps;
  return all;
}

// The run of that key in a file, where it is there, sound, and of this program. Damage counts as
// absence: the run is done again.
std::optional<RunContent> load(const std::string& file, const std::string& key, bool any_program) {
  std::error_code unreadable;
  if (!fs::exists(file, unreadable)) return std::nullopt;
  try {
    const h5::Handle opened = h5::open_file(file);
    if (h5::read_int(opened.get(), "version", file) != kResultVersion ||
        !h5::exists(opened.get(), "runs/" + key))
      return std::nullopt;
    const h5::Handle runs = h5::open_group(opened.get(), "runs", file);
    RunContent run = read_run(runs.get(), key, file);
    if (!any_program && text_of(run.attributes, "program_hash", file) != program_hash())
      return std::nullopt;
    return run;
  } catch (const InputError&) {
    return std::nullopt;
  }
}

// The runs of another shard, or of the whole, would be lost with the file.
void refuse_other_shard(const std::string& file, const Shard& shard) {
  std::error_code unreadable;
  if (!fs::exists(file, unreadable)) return;
  std::optional<Shard> found;
  try {
    found = shard_of(read_attributes(open_result(file).get(), file), file);
  } catch (const InputError&) {
    return;  // no result, or none that can be read: nothing to lose
  }
  if (found != shard)
    fail_input(file, ": holds ", found ? "shard " + found->text() : "a whole sweep",
               ", which shard ", shard.text(), " would replace; choose another file with --output");
}

}  // namespace

ResultStore::ResultStore(const Sweep& sweep, const std::optional<Shard>& shard)
    : sweep_(sweep), shard_(shard), parts_(sweep.output + ".parts") {
  if (shard) refuse_other_shard(sweep.output, *shard);
  std::error_code error;
  fs::create_directories(parts_, error);
  if (error)
    fail_input(parts_, ": cannot be created: ", error.message(),
               "; choose a writable place with --output");
  lock_ = ::open((parts_ + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) fail_input(parts_, ": cannot be written; choose a writable place with --output");
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    const int why = errno;
    ::close(lock_);
    if (why != EWOULDBLOCK)
      fail_input(parts_, ": its file system gives no lock (", std::strerror(why),
                 "), without which two runs could write one result; choose a place with --output "
                 "that does");
    fail_input(sweep.output,
               ": another doublep run is writing it; wait for it, or choose another "
               "place with --output");
  }
}

ResultStore::~ResultStore() { ::close(lock_); }

std::string ResultStore::part_path(const std::string& key) const {
  return parts_ + "/" + key + ".h5";
}

std::string ResultStore::checksum_path(const std::string& key) const {
  return parts_ + "/" + key + ".sha256";
}

// Before HDF5 opens it: libhdf5 does not survive every damage.
bool ResultStore::part_is_sound(const std::string& key) const {
  std::string expected;
  if (!std::getline(std::ifstream(checksum_path(key)), expected)) return false;
  try {
    return sha256_of_file(part_path(key)) == expected;
  } catch (const InputError&) {
    return false;
  }
}

std::optional<RunContent> ResultStore::find(const std::string& key, bool any_program) const {
  const bool part = part_is_sound(key);
  // A run of this program goes before one of another, which is taken only where it was asked for.
  for (const bool any : any_program ? std::vector{false, true} : std::vector{false}) {
    if (part)
      if (auto run = load(part_path(key), key, any)) return run;
    if (auto run = load(sweep_.output, key, any)) return run;
  }
  return std::nullopt;
}

bool ResultStore::has(const std::string& key, bool any_program) const {
  return find(key, any_program).has_value();
}

void ResultStore::write(const FinishedRun& run, ReplayResult result) {
  FileImage image;
  h5::write_int(image.root(), "version", kResultVersion);
  const h5::Handle runs = h5::create_group(image.root(), "runs", sweep_.output);
  const Attributes attributes = run_attributes(run, result, sweep_.kv_dtype);
  write_run(runs.get(), run.key, {attributes, std::move(result.rows), std::move(result.layers)},
            sweep_.output);
  const std::string path = part_path(run.key);
  image.save(path);
  const std::string checksum = sha256_of_file(path) + "\n";
  write_output(checksum_path(run.key), checksum);
}

void ResultStore::join(FinishedRun run, const std::vector<std::string>& pieces) {
  std::vector<ReplayResult> results;
  for (const std::string& key : pieces) {
    auto content = find(key, true);
    if (!content)
      fail_input(sweep_.output, ": a piece of run ", run.key, " (", run.spec->label,
                 ") was there and is not any more, or was damaged; run again, which does it anew");
    ReplayResult result;
    result.rows = std::move(content->rows), result.layers = std::move(content->layers);
    result.steps = std::get<std::vector<std::int64_t>>(content->attributes.at("steps_replayed"));
    result.target_p = real_of(content->attributes, "target_p", sweep_.output);
    result.target_error = real_of(content->attributes, "target_error", sweep_.output);
    run.seconds += real_of(content->attributes, "seconds", sweep_.output);
    results.push_back(std::move(result));
  }
  write(run, joined(std::move(results)));
  for (const std::string& key : pieces) remove_part(key);
}

void ResultStore::write_root(hid_t root, const std::vector<const Trace*>& traces) const {
  std::vector<std::string> hashes;
  const h5::Handle groups = h5::create_group(root, "traces", sweep_.output);
  for (std::size_t i = 0; i < traces.size(); ++i) {
    const h5::Handle group = h5::create_group(groups.get(), std::to_string(i), sweep_.output);
    write_attributes(group.get(), trace_attributes(*traces[i]));
    hashes.push_back(traces[i]->content_hash());
  }
  Attributes all = {{"format", "doublep-result"},
                    {"version", kResultVersion},
                    {"name", sweep_.name},
                    {"config", resolved_config(sweep_, hashes)},
                    {"config_hash", config_hash(sweep_, hashes)},
                    {"seed", static_cast<std::int64_t>(sweep_.seeds.front())},
                    {"threads", std::int64_t{num_threads()}}};
  for (const auto& [name, value] : provenance()) all.emplace(name, value);
  set_shard(all, shard_);
  write_attributes(root, all);
}

void ResultStore::finish(const std::vector<FinishedRun>& runs,
                         const std::vector<const Trace*>& traces) {
  FileImage image;
  write_root(image.root(), traces);
  const h5::Handle groups = h5::create_group(image.root(), "runs", sweep_.output);
  for (const FinishedRun& run : runs) {
    auto content = find(run.key, true);
    if (!content)
      fail_input(sweep_.output, ": run ", run.key, " (", run.spec->label,
                 ") was there and is not any more, or was damaged; run again, which does it anew");
    // Place and names belong to this sweep, not to the run.
    content->attributes["order"] = std::int64_t{run.order};
    content->attributes["label"] = run.spec->label;
    content->attributes["title"] = run.spec->title;
    content->attributes["variant"] = run.spec->parameters.variant();
    const PolicyInfo& policy = PolicyRegistry::instance().find(run.spec->policy);
    content->attributes["reads_every_key"] =
        std::int64_t{policy.oracle_priced(run.spec->parameters)};
    content->attributes["trace"] = run.trace;
    write_run(groups.get(), run.key, *content, sweep_.output);
  }
  h5::write_string(image.root(), kContentHash, root_hash(image.root(), sweep_.output));
  image.save(sweep_.output);
  remove_parts(runs);
}

void ResultStore::remove_part(const std::string& key) const {
  std::error_code ignored;
  fs::remove(part_path(key), ignored);
  fs::remove(checksum_path(key), ignored);
}

// Parts of other configurations with this output stay: they may be continued yet.
void ResultStore::remove_parts(const std::vector<FinishedRun>& runs) const {
  std::error_code ignored;
  for (const FinishedRun& run : runs) remove_part(run.key);
  bool others = false;
  for (const auto& entry : fs::directory_iterator(parts_, ignored))
    others = others || entry.path().extension() == ".h5";
  if (!others) fs::remove_all(parts_, ignored);
}

}  // namespace doublep
