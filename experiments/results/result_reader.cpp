#include "experiments/results/result_reader.h"

#include <algorithm>

#include "core/base/error.h"

namespace doublep {
namespace {

std::string required_text(hid_t object, const char* name, const std::string& place) {
  const auto value = h5::read_string(object, name, place);
  if (!value) fail_input(place, ": attribute ", name, " is missing; is this a doublep result?");
  return *value;
}

std::int64_t required_int(hid_t object, const char* name, const std::string& place) {
  const auto value = h5::read_int(object, name, place);
  if (!value) fail_input(place, ": attribute ", name, " is missing; is this a doublep result?");
  return *value;
}

template <class Record>
std::vector<Record> read_table(hid_t group, const std::string& name, const h5::Handle& type,
                               const std::string& place) {
  if (!h5::exists(group, name)) fail_input(place, ": dataset ", name, " is missing; run again");
  const h5::Handle dataset(H5Dopen2(group, name.c_str(), H5P_DEFAULT), H5Dclose);
  const h5::Handle stored(dataset ? H5Dget_type(dataset.get()) : -1, H5Tclose);
  if (!dataset || H5Tget_class(stored.get()) != H5T_COMPOUND ||
      h5::shape(dataset.get()).size() != 1)
    fail_input(place, ": dataset ", name, ": expected a list of records");
  // HDF5 matches fields by name and would leave a missing one as it was: count them first.
  for (int i = 0; i < H5Tget_nmembers(type.get()); ++i) {
    char* field = H5Tget_member_name(type.get(), static_cast<unsigned>(i));
    const bool there = H5Tget_member_index(stored.get(), field) >= 0;
    const std::string text = field;
    H5free_memory(field);
    if (!there) fail_input(place, ": dataset ", name, " has no field ", text, "; run again");
  }
  std::vector<Record> records(h5::shape(dataset.get())[0]);
  if (H5Dread(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, records.data()) < 0)
    fail_input(place, ": dataset ", name, " cannot be read; the file is damaged");
  return records;
}

StoredTrace read_trace(hid_t group, const std::string& place) {
  StoredTrace t;
  t.name = required_text(group, "name", place), t.hash = required_text(group, "hash", place);
  t.model = required_text(group, "model", place), t.task = required_text(group, "task", place);
  t.num_tokens = required_int(group, "num_tokens", place);
  t.num_query_heads = required_int(group, "num_query_heads", place);
  t.num_kv_heads = required_int(group, "num_kv_heads", place);
  t.head_dim = required_int(group, "head_dim", place);
  t.num_steps = required_int(group, "num_steps", place);
  return t;
}

}  // namespace

std::vector<RowRecord> read_rows(hid_t run, const std::string& place) {
  return read_table<RowRecord>(run, "rows", row_type(), place);
}

std::vector<LayerRecord> read_layers(hid_t run, const std::string& place) {
  return read_table<LayerRecord>(run, "layers", layer_type(), place);
}

ResultFile ResultFile::load(const std::string& path) {
  const h5::Handle file = h5::open_file(path);
  const hid_t root = file.get();
  const auto format = h5::read_string(root, "format", path);
  if (format != "doublep-result" || h5::read_int(root, "version", path) != 1)
    fail_input(path, ": not a doublep-result of version 1; give the file that `doublep run` wrote");
  ResultFile result;
  result.path = path;
  result.name = required_text(root, "name", path);
  result.config = required_text(root, "config", path);
  result.config_hash = required_text(root, "config_hash", path);
  result.commit = required_text(root, "commit", path);
  result.created = required_text(root, "created", path);
  const h5::Handle traces = h5::open_group(root, "traces", path);
  const std::size_t count = h5::children(traces.get()).size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::string name = "traces/" + std::to_string(i);
    result.traces.push_back(read_trace(h5::open_group(root, name, path).get(), path + ": " + name));
  }
  const h5::Handle runs = h5::open_group(root, "runs", path);
  for (const std::string& key : h5::children(runs.get())) {
    const std::string place = path + ": runs/" + key;
    const h5::Handle group = h5::open_group(runs.get(), key, path);
    StoredRun run;
    run.key = key;
    run.policy = required_text(group.get(), "policy", place);
    run.backend = required_text(group.get(), "backend", place);
    run.label = required_text(group.get(), "label", place);
    run.parameters = required_text(group.get(), "parameters", place);
    run.kv_dtype = required_text(group.get(), "kv_dtype", place);
    run.order = required_int(group.get(), "order", place);
    // Files of one seed used to say it once, for all.
    run.seed = h5::read_int(group.get(), "seed", place)
                   .value_or(h5::read_int(root, "seed", path).value_or(0));
    run.target_p = h5::read_real(group.get(), "target_p", place).value_or(0);
    run.seconds = h5::read_real(group.get(), "seconds", place).value_or(0);
    const std::string trace = required_text(group.get(), "trace", place);
    run.trace = static_cast<std::size_t>(std::atoi(trace.c_str()));
    if (run.trace >= result.traces.size())
      fail_input(place, ": attribute trace is ", trace,
                 ", but there is no such group under /traces");
    run.rows = read_rows(group.get(), place);
    run.layers = read_layers(group.get(), place);
    result.runs.push_back(std::move(run));
  }
  if (result.runs.empty()) fail_input(path, ": holds no run");
  std::sort(result.runs.begin(), result.runs.end(),
            [](const auto& a, const auto& b) { return a.order < b.order; });
  return result;
}

}  // namespace doublep
