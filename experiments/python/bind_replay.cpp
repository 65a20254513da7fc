// doublep.replay and doublep.run: the program's replay, its rows as arrays of NumPy.
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>

#include "core/base/error.h"
#include "core/trace/recorded_outputs.h"
#include "experiments/config/entry.h"
#include "experiments/python/bindings.h"
#include "experiments/python/convert.h"
#include "experiments/python/decoder_session.h"
#include "experiments/results/stored_run.h"

namespace doublep::python {
namespace {

struct Replayed {
  ReplayResult result;
  std::string trace, policy, label, parameters;  ///< parameters: JSON
  std::uint64_t seed;
};

// Control-C, now and then: the lock costs time where other threads want it.
class Interruptible {
 public:
  bool operator()(double) {
    const auto now = std::chrono::steady_clock::now();
    if (now - asked_ < std::chrono::milliseconds(100)) return true;
    asked_ = now;
    const nb::gil_scoped_acquire lock;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    return true;
  }

 private:
  std::chrono::steady_clock::time_point asked_ = std::chrono::steady_clock::now();
};

Replayed replay_run(const Trace& trace, const Sweep& sweep, const RunSpec& run,
                    const DecoderFactory& make, TruthCache* truths, bool allow_mismatch) {
  ReplayResult result = replay(trace, sweep.replay, make, Interruptible(), truths);
  trace.require_unchanged();
  for (const LayerSummary& layer : result.layers)
    judge_mismatch(trace, layer.layer, layer.dense_mismatch, allow_mismatch);
  return {std::move(result), trace.info().name,     run.policy,
          run.label,         run.parameters_json(), run.seed};
}

Replayed replay_policy(const Trace& trace, const Setting& setting, const ReplayOptions& options,
                       bool allow_mismatch) {
  Sweep sweep = request("replay", setting);
  sweep.replay = options;
  const RunSpec& run = sweep.runs[0];
  check_fits(PolicyRegistry::instance().find(run.policy), run.parameters, trace.info().head_dim);
  trace.require_layers(options.layers.empty() ? trace.info().layers : options.layers);
  return replay_run(trace, sweep, run, decoder_factory(sweep, run), nullptr, allow_mismatch);
}

std::vector<Replayed> run_config(const std::string& path, const std::vector<std::string>& overrides,
                                 bool allow_mismatch) {
  const Sweep sweep = load_sweep(path, overrides);
  const std::vector<Trace> traces = open_traces(sweep);
  std::vector<DecoderFactory> factories;
  for (const RunSpec& run : sweep.runs) factories.push_back(decoder_factory(sweep, run));
  const std::size_t truth_bytes = static_cast<std::size_t>(RunnerOptions{}.truth_mebibytes) << 20;
  std::vector<Replayed> all;
  for (const Trace& trace : traces) {
    TruthCache truths(trace, sweep.runs.size() > 1 ? truth_bytes : 0);
    for (std::size_t i = 0; i < sweep.runs.size(); ++i)
      all.push_back(replay_run(trace, sweep, sweep.runs[i], factories[i], &truths, allow_mismatch));
  }
  return all;
}

ReplayOptions replay_options(const std::vector<int>& layers, std::int64_t every_step,
                             std::int64_t max_steps, double target_mass) {
  if (every_step < 1) fail_input("replay: every_step is ", every_step, ", expected at least 1");
  if (max_steps < 0) fail_input("replay: max_steps is ", max_steps, ", expected at least 0");
  if (!(target_mass > 0 && target_mass <= 1))
    fail_input("replay: target_mass is ", target_mass, ", expected in (0, 1]");
  for (std::size_t i = 0; i < layers.size(); ++i)
    if (std::count(layers.begin(), layers.end(), layers[i]) > 1)
      fail_input("replay: layer ", layers[i], " is named twice; name it once");
  return {layers, every_step, max_steps, target_mass};
}

nb::dict row_meanings() {
  nb::dict all;
  for (const RowField& field : row_fields()) {
    nb::dict one;
    one["unit"] = field.unit, one["meaning"] = field.meaning;
    all[field.column.name.c_str()] = one;
  }
  return all;
}

nb::list tuned(const std::filesystem::path& path) {
  nb::list all;
  for (const TunedChoice& choice : read_choices(Yaml::load(path.string()))) {
    nb::dict one, layers;
    for (const auto& [layer, parameters] : choice.layers) {
      nb::dict values;
      for (const auto& [name, value] : parameters.values()) values[name.c_str()] = to_python(value);
      layers[nb::cast(layer)] = values;
    }
    one["policy"] = choice.policy, one["trace"] = choice.trace, one["backend"] = choice.backend;
    one["layers"] = layers;
    all.append(one);
  }
  return all;
}

void bind_result(nb::module_& m) {
  nb::class_<Replayed>(m, "ReplayResult", "A policy's replay of a trace.")
      .def_ro("trace", &Replayed::trace, "str: the trace's name.")
      .def_ro("policy", &Replayed::policy, "str")
      .def_ro("label", &Replayed::label,
              "str: the policy and what tells it from its sweep's others.")
      .def_ro("seed", &Replayed::seed, "int: of whatever the policy draws.")
      .def_prop_ro(
          "parameters", [](const Replayed& r) { return from_json(r.parameters); },
          "dict: every parameter with its value; {layer: value} where layers differ.")
      .def_prop_ro(
          "rows",
          [](nb::handle self) {
            const auto& rows = nb::cast<const Replayed&>(self).result.rows;
            return structured_array(rows.data(), rows.size(), sizeof(Row), row_columns(), self);
          },
          "structured array, a row for every layer, step and query head: the fields of\n"
          "doublep.row_fields(), as experiments/RESULT_FORMAT.md has them.")
      .def_prop_ro(
          "layers",
          [](nb::handle self) {
            const auto& layers = nb::cast<const Replayed&>(self).result.layers;
            return structured_array(layers.data(), layers.size(), sizeof(LayerSummary),
                                    layer_columns(), self);
          },
          "structured array, a row a layer: index_memory_bytes, index_build_bytes,\n"
          "index_build_flops, seconds_index, seconds_steps, dense_mismatch.")
      .def_prop_ro(
          "steps",
          [](const Replayed& r) {
            return array_out(std::vector(r.result.steps), {r.result.steps.size()});
          },
          "int64: the steps of the trace that were measured.")
      .def_prop_ro(
          "target_p", [](const Replayed& r) { return r.result.target_p; },
          "float: the share of the mass that violations are held against.")
      .def_prop_ro(
          "target_error", [](const Replayed& r) { return r.result.target_error; },
          "float: the relative output error that is promised; NaN where none is.");
}

}  // namespace

void bind_replay(nb::module_& m) {
  bind_result(m);
  m.def("row_fields", row_meanings,
        "Every field of ReplayResult.rows, in order: {name: {\"unit\", \"meaning\"}}.");
  m.def(
      "replay",
      [](const Trace& trace, std::string policy, std::string backend,
         const std::vector<int>& layers, std::int64_t every_step, std::int64_t max_steps,
         double target_mass, std::string kv_dtype, std::int64_t seed, bool allow_mismatch,
         const nb::kwargs& parameters) {
        const Setting setting{std::move(policy), std::move(backend), std::move(kv_dtype), seed,
                              parameters_in(parameters)};
        const ReplayOptions options = replay_options(layers, every_step, max_steps, target_mass);
        const WithoutLock unlocked(WithoutLock::Reads::kHdf5);
        return replay_policy(trace, setting, options, allow_mismatch);
      },
      nb::arg("trace"), nb::arg("policy"), nb::arg("backend") = "cpu", nb::kw_only(),
      nb::arg("layers") = std::vector<int>(), nb::arg("every_step") = 1, nb::arg("max_steps") = 0,
      nb::arg("target_mass") = 0.95, nb::arg("kv_dtype") = "bf16", nb::arg("seed") = 0,
      nb::arg("allow_mismatch") = false, nb::arg("parameters"),
      "Replays a Trace through a policy as decoding happened, and measures every step.\n\n"
      "layers: indices in the model, () for all. every_step: measure each so many steps. "
      "max_steps:\n"
      "stop after so many, 0 for all. target_mass: promise that policies without one are held to.\n"
      "allow_mismatch: recorded outputs that differ are a warning. The rest is as of Decoder.");
  m.def(
      "run",
      [](const std::filesystem::path& config, const std::vector<std::string>& overrides,
         bool allow_mismatch) {
        const WithoutLock unlocked(WithoutLock::Reads::kHdf5);
        return run_config(config.string(), overrides, allow_mismatch);
      },
      nb::arg("config"), nb::arg("overrides") = std::vector<std::string>(), nb::kw_only(),
      nb::arg("allow_mismatch") = false,
      "Does the runs of a sweep (a YAML file, as `doublep run` reads it) and returns a\n"
      "list[ReplayResult], by trace and in the order of the file. overrides: \"key=value\" as of\n"
      "--set. Nothing is written; `python -m doublep run` keeps results in a file, and resumes.");
  m.def("tuned", tuned, nb::arg("path"),
        "What `doublep tune -o` wrote to a file: a list of {\"policy\", \"trace\", \"backend\", "
        "\"layers\"},\n"
        "layers: {number in the model: {parameter: value}}.");
}

}  // namespace doublep::python
