#include "experiments/results/result_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "experiments/results/image.h"
#include "experiments/results/provenance.h"
#include "experiments/results/result_reader.h"

namespace doublep {
namespace {

namespace fs = std::filesystem;

template <class Record>
void write_table(hid_t group, const char* name, const h5::Handle& type,
                 const std::vector<Record>& records) {
  const hsize_t size = records.size();
  const h5::Handle space(H5Screate_simple(1, &size, nullptr), H5Sclose);
  const h5::Handle options(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  if (size > 0) {  // chunks carry a checksum: damage is found when they are read
    const hsize_t chunk = std::min<hsize_t>(size, 4096);
    H5Pset_chunk(options.get(), 1, &chunk);
    H5Pset_shuffle(options.get());
    H5Pset_deflate(options.get(), 4);
    H5Pset_fletcher32(options.get());
  }
  const h5::Handle dataset(
      H5Dcreate2(group, name, type.get(), space.get(), H5P_DEFAULT, options.get(), H5P_DEFAULT),
      H5Dclose);
  h5::check_write(
      dataset ? H5Dwrite(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, records.data())
              : -1,
      name);
}

void write_trace_info(hid_t group, const Trace& trace) {
  const TraceInfo& info = trace.info();
  h5::write_string(group, "name", info.name);
  h5::write_string(group, "path", info.path);
  h5::write_string(group, "hash", trace.content_hash());
  h5::write_string(group, "model", info.model);
  h5::write_string(group, "task", info.task);
  h5::write_int(group, "num_tokens", info.num_tokens);
  h5::write_int(group, "num_query_heads", info.num_query_heads);
  h5::write_int(group, "num_kv_heads", info.num_kv_heads);
  h5::write_int(group, "head_dim", info.head_dim);
  h5::write_int(group, "num_steps", info.num_steps());
  h5::write_ints(group, "layers", {info.layers.begin(), info.layers.end()});
}

// Does `file` hold this run, complete, from this program? Damage counts as no.
bool holds(const std::string& file, const std::string& key, bool any_program) {
  if (!fs::exists(file)) return false;
  try {
    const h5::Handle opened = h5::open_file(file);
    if (!h5::exists(opened.get(), "runs/" + key)) return false;
    const h5::Handle run = h5::open_group(opened.get(), "runs/" + key, file);
    if (!any_program && h5::read_string(run.get(), "program_hash", file) != program_hash())
      return false;
    return !read_rows(run.get(), file).empty() && !read_layers(run.get(), file).empty();
  } catch (const InputError&) {
    return false;
  }
}

}  // namespace

ResultStore::ResultStore(const Sweep& sweep) : sweep_(sweep), parts_(sweep.output + ".parts") {
  std::error_code error;
  fs::create_directories(parts_, error);
  if (error)
    fail_input(parts_, ": cannot be created: ", error.message(),
               "; choose a writable place with --output");
  lock_ = ::open((parts_ + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) fail_input(parts_, ": cannot be written; choose a writable place with --output");
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0)
    fail_input(sweep.output,
               ": another doublep run is writing it; wait for it, or choose another "
               "place with --output");
}

ResultStore::~ResultStore() {
  if (lock_ >= 0) ::close(lock_);
}

std::string ResultStore::part_path(const std::string& key) const {
  return parts_ + "/" + key + ".h5";
}

bool ResultStore::has(const std::string& key, bool any_program) const {
  return holds(part_path(key), key, any_program) || holds(sweep_.output, key, any_program);
}

void ResultStore::write(const FinishedRun& run, const ReplayResult& result) {
  FileImage image;
  const h5::Handle runs = h5::create_group(image.root(), "runs", sweep_.output);
  const h5::Handle group = h5::create_group(runs.get(), run.key, sweep_.output);
  for (const auto& [name, value] : provenance()) h5::write_string(group.get(), name, value);
  h5::write_string(group.get(), "policy", run.spec->policy);
  h5::write_string(group.get(), "backend", run.spec->backend);
  h5::write_string(group.get(), "parameters", run.spec->parameters_json());
  h5::write_int(group.get(), "seed", static_cast<std::int64_t>(run.spec->seed));
  h5::write_string(group.get(), "kv_dtype", std::string(name_of(sweep_.kv_dtype)));
  h5::write_real(group.get(), "target_p", result.target_p);
  h5::write_real(group.get(), "seconds", run.seconds);
  std::vector<RowRecord> rows;
  for (const Row& row : result.rows) rows.push_back(to_record(row));
  std::vector<LayerRecord> layers;
  for (const LayerSummary& layer : result.layers) layers.push_back(to_record(layer));
  write_table(group.get(), "rows", row_type(), rows);
  write_table(group.get(), "layers", layer_type(), layers);
  image.save(part_path(run.key));
}

void ResultStore::finish(const std::vector<FinishedRun>& runs,
                         const std::vector<const Trace*>& traces) {
  FileImage image;
  std::vector<std::string> hashes;
  const h5::Handle trace_groups = h5::create_group(image.root(), "traces", sweep_.output);
  for (std::size_t i = 0; i < traces.size(); ++i) {
    const h5::Handle group = h5::create_group(trace_groups.get(), std::to_string(i), sweep_.output);
    write_trace_info(group.get(), *traces[i]);
    hashes.push_back(traces[i]->content_hash());
  }
  h5::write_string(image.root(), "format", "doublep-result");
  h5::write_int(image.root(), "version", 1);
  h5::write_string(image.root(), "name", sweep_.name);
  h5::write_string(image.root(), "config", resolved_config(sweep_, hashes));
  h5::write_string(image.root(), "config_hash", config_hash(sweep_, hashes));
  h5::write_int(image.root(), "seed", static_cast<std::int64_t>(sweep_.seeds.front()));
  h5::write_int(image.root(), "threads", num_threads());
  for (const auto& [name, value] : provenance()) h5::write_string(image.root(), name, value);

  const h5::Handle run_groups = h5::create_group(image.root(), "runs", sweep_.output);
  for (const FinishedRun& run : runs) {
    const std::string part = part_path(run.key);
    // A run of this program goes before one of another, which is here only where it was asked for.
    const bool mine = holds(part, run.key, false);
    const bool kept = !mine && holds(sweep_.output, run.key, false);
    const std::string from = mine || (!kept && holds(part, run.key, true)) ? part : sweep_.output;
    const h5::Handle source = h5::open_file(from);
    h5::check_write(H5Ocopy(source.get(), ("runs/" + run.key).c_str(), run_groups.get(),
                            run.key.c_str(), H5P_DEFAULT, H5P_DEFAULT),
                    from + ": run " + run.key);
    // Place and label belong to this sweep, not to the run.
    const h5::Handle group = h5::open_group(run_groups.get(), run.key, sweep_.output);
    for (const char* name : {"order", "label", "trace"})
      if (H5Aexists(group.get(), name) > 0) H5Adelete(group.get(), name);
    h5::write_int(group.get(), "order", run.order);
    h5::write_string(group.get(), "label", run.spec->label);
    h5::write_string(group.get(), "trace", run.trace);
  }
  image.save(sweep_.output);
  // Parts of other configurations with this output stay: they may be continued yet.
  std::error_code ignored;
  for (const FinishedRun& run : runs) fs::remove(part_path(run.key), ignored);
  bool others = false;
  for (const auto& entry : fs::directory_iterator(parts_, ignored))
    others = others || entry.path().extension() == ".h5";
  if (!others) fs::remove_all(parts_, ignored);
}

}  // namespace doublep
