// What `doublep simulate` is asked for: studies, each a product of machines, what-ifs, models,
// workloads, policies and decode points; and, where wanted, a serving run.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/config/sweep.h"
#include "experiments/simulate/answer_rows.h"
#include "sim/decode/decode.h"
#include "sim/profile/profile.h"
#include "sim/serving/requests.h"

namespace doublep::sim {

struct WorkloadPlan {
  std::string name;
  std::vector<std::string> profiles;  ///< files written by --record
  std::vector<std::string> traces;    ///< kv-traces, profiled now
};

struct ServingPlan {
  RequestPlan requests;
  std::vector<double> rates;  ///< one run each
  std::string recorded;       ///< CSV instead of drawn requests; empty: draw
  int most_running = 256;
  DecodePoint setting;  ///< place, data type, devices; context and batch are the run's
};

/// Where policies begin to beat dense attention (sim/decode/crossover.h).
struct CrossoverPlan {
  std::int64_t from = 1024, to = 1 << 20;  ///< tokens
  std::vector<DecodePoint> points;         ///< without contexts
};

/// Whole answers.
struct AnswerPlan {
  std::vector<DecodePoint> points;   ///< their contexts are prompts
  std::vector<std::int64_t> tokens;  ///< of dense's answer
  std::vector<std::vector<double>>
      ratios;                         ///< a policy's answer over dense's; [policy of the plan]
  std::string rows;                   ///< file that says so; empty: given
  std::vector<AnswerLength> lengths;  ///< what it says, policy by policy
};

struct Study {
  std::string name;
  std::vector<Hardware> hardware;
  std::vector<Scale> what_if;  ///< the first one may leave everything as it is
  std::vector<Model> models;
  std::vector<DecodePoint> points;
  std::optional<ServingPlan> serving;
  std::optional<CrossoverPlan> crossover;
  std::optional<AnswerPlan> answers;
  std::vector<std::string> inputs;  ///< files that describe it
};

struct CalibrationPlan {
  std::string points;      ///< file of measured points; empty: none
  std::string hardware;    ///< name of the machine that they were measured on
  std::string end_to_end;  ///< file of doublep_e2e on the same machine; empty: not measured
  int hold_out = 3;        ///< one point in so many is predicted, not fitted; 0 and 1: none
};

struct SimulationPlan {
  std::string path, name, output;
  std::uint64_t seed = 0;
  std::vector<RunSpec> policies;
  std::vector<WorkloadPlan> workloads;
  MeasureOptions measure;
  CalibrationPlan calibration;
  std::vector<Study> studies;
  std::string config;  ///< the resolved configuration, YAML

  std::size_t num_points() const;
  /// Every file that was or will be read.
  std::vector<std::string> inputs() const;
};

/// Why a model does not take a policy (sim/decode/latent.h); "": it does.
std::string refusal(const Model& model, const RunSpec& policy);

/// Reads and expands a configuration. Keys of the root (hardware, models, what_if, decode, serving,
/// crossover, answer)
/// are what a study has that does not say otherwise; without `studies` there is one of that name.
/// More than kMostRuns points are refused unless `any_number`. Relative paths are resolved against
/// the file's folder. Throws InputError "file:line:column:
/// ...".
SimulationPlan load_plan(const std::string& path, const std::vector<std::string>& overrides = {},
                         bool any_number = false);

}  // namespace doublep::sim
