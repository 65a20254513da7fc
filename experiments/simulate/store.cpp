#include "core/base/hash.h"
#include "core/base/parallel.h"
#include "experiments/results/image.h"
#include "experiments/simulate/records.h"
#include "experiments/simulate/simulation.h"

namespace doublep::sim {
namespace {

// A table that would be empty is left out.
template <class Record>
void add_table(hid_t group, const char* name, const Columns& columns,
               const std::vector<Record>& records, const std::string& file) {
  if (!records.empty()) write_table(group, name, columns, records, file);
}

std::string key_of(const Curve& c, const std::string& config_hash) {
  Hasher hasher;
  for (const std::string& part :
       {config_hash, c.study, c.hardware, c.what_if, c.model, c.workload, c.policy, c.parameters})
    hasher.add(part).add("\n");
  return hasher.hex();
}

void write_curve(hid_t runs, const Curve& c, const std::string& key, int order,
                 const std::string& file) {
  const h5::Handle group = h5::create_group(runs, key, file);
  const std::pair<const char*, const std::string&> texts[] = {
      {"study", c.study}, {"hardware", c.hardware}, {"what_if", c.what_if},
      {"model", c.model}, {"workload", c.workload}, {"policy", c.policy},
      {"label", c.label}, {"title", c.title},       {"parameters", c.parameters}};
  for (const auto& [name, text] : texts) h5::write_string(group.get(), name, text);
  h5::write_int(group.get(), "order", order);
  h5::write_real(group.get(), "output_error", c.output_error);
  h5::write_real(group.get(), "covered_mass", c.covered_mass);
  const auto add = [&]<class Result>(const char* name, const Columns& columns,
                                     const std::vector<Result>& results) {
    std::vector<decltype(to_record(results.front()))> records;
    for (const Result& result : results) records.push_back(to_record(result));
    add_table(group.get(), name, columns, records, file);
  };
  add("points", point_columns(), c.points);
  add("serving", serving_columns(), c.serving);
  add("crossover", crossover_columns(), c.crossover);
  add("answers", answer_columns(), c.answers);
}

void write_errors(hid_t group, const ErrorSummary& fitted, const ErrorSummary& held_out) {
  for (const auto& [name, e] : {std::pair{"fitted", fitted}, {"held_out", held_out}}) {
    h5::write_int(group, concat(name, "_points"), e.points);
    h5::write_real(group, concat(name, "_median_error"), e.median);
    h5::write_real(group, concat(name, "_worst_error"), e.worst);
  }
}

void write_calibration(hid_t root, const Calibration& c, const std::string& hardware,
                       const std::string& file) {
  const h5::Handle group = h5::create_group(root, "calibration", file);
  h5::write_string(group.get(), "hardware", hardware);
  for (int a = 0; a < kNumAccesses; ++a) {
    const KernelFit& fit = c.efficiency.kernels[a];
    const std::string name(name_of(static_cast<Access>(a)));
    h5::write_real(group.get(), name + "_share", fit.share);
    h5::write_real(group.get(), name + "_latency", fit.latency);
  }
  for (int k = 0; k < kNumSearches; ++k) {
    const SearchFit& fit = c.efficiency.searches[k];
    const std::string name = concat("search_", name_of(static_cast<Search>(k)));
    h5::write_real(group.get(), name + "_rate", fit.rate);
    h5::write_real(group.get(), name + "_latency", fit.latency);
    h5::write_real(group.get(), name + "_turn_latency", fit.turn_latency);
  }
  h5::write_real(group.get(), "build_share", c.efficiency.build_share);
  write_errors(group.get(), c.fitted, c.held_out);
  std::vector<CalibrationRecord> records;
  for (const Prediction& p : c.predictions) records.push_back(to_record(p));
  add_table(group.get(), "points", calibration_columns(), records, file);
}

void write_end_to_end(hid_t root, const EndToEnd& e, const Efficiency& efficiency,
                      const std::string& file) {
  const h5::Handle group = h5::create_group(root, "end_to_end", file);
  h5::write_string(group.get(), "device", e.measured.device);
  h5::write_string(group.get(), "model", e.measured.model);
  h5::write_string(group.get(), "caches", e.measured.caches);
  h5::write_int(group.get(), "layers", e.measured.layers);
  h5::write_real(group.get(), "small_latency", efficiency.small_latency);
  h5::write_real(group.get(), "attention_offset", efficiency.attention_offset);
  h5::write_real(group.get(), "prefill_share", efficiency.prefill_share);
  write_errors(group.get(), e.fitted, e.held_out);
  std::vector<StepRecord> steps;
  for (const StepPrediction& s : e.steps) steps.push_back(to_record(s));
  add_table(group.get(), "steps", step_columns(), steps, file);
  add_table(group.get(), "products", product_columns(), to_records(e), file);
}

void write_profiles(hid_t root, const std::vector<Profile>& profiles, const std::string& file) {
  const h5::Handle group = h5::create_group(root, "profiles", file);
  for (std::size_t i = 0; i < profiles.size(); ++i) {
    const Profile& p = profiles[i];
    const h5::Handle one = h5::create_group(group.get(), std::to_string(i), file);
    h5::write_string(one.get(), "trace", p.trace);
    h5::write_string(one.get(), "trace_hash", p.trace_hash);
    h5::write_string(one.get(), "policy", p.policy);
    h5::write_string(one.get(), "parameters", p.parameters);
    h5::write_int(one.get(), "context", p.context);
    h5::write_real(one.get(), "output_error", p.output_error);
    h5::write_real(one.get(), "covered_mass", p.covered_mass);
    std::vector<HitRecord> hits;
    for (const HitPoint& hit : p.hits) hits.push_back({hit.share, hit.rate});
    add_table(one.get(), "hits", hit_columns(), hits, file);
  }
}

}  // namespace

void write_simulation(const std::string& path, const SimulationPlan& plan,
                      const SimulationResult& result) {
  FileImage image;
  const hid_t root = image.root();
  const std::string config_hash = Hasher().add(plan.config).hex();
  h5::write_string(root, "format", "doublep-simulation");
  h5::write_int(root, "version", 1);
  h5::write_string(root, "name", plan.name);
  h5::write_string(root, "config", plan.config);
  h5::write_string(root, "config_hash", config_hash);
  h5::write_int(root, "seed", static_cast<std::int64_t>(plan.seed));
  h5::write_int(root, "threads", num_threads());
  for (const auto& [name, value] : provenance()) h5::write_string(root, name, value);
  const h5::Handle runs = h5::create_group(root, "runs", path);
  for (std::size_t i = 0; i < result.curves.size(); ++i)
    write_curve(runs.get(), result.curves[i], key_of(result.curves[i], config_hash),
                static_cast<int>(i), path);
  if (result.calibration)
    write_calibration(root, *result.calibration, plan.calibration.hardware, path);
  if (result.end_to_end)
    write_end_to_end(root, *result.end_to_end, result.calibration->efficiency, path);
  write_profiles(root, result.profiles, path);
  image.save(path);
}

}  // namespace doublep::sim
