// Carries a plan out: profiles, calibration, then every point of every study.
#pragma once

#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "experiments/simulate/plan.h"
#include "sim/calibration/end_to_end.h"
#include "sim/decode/crossover.h"
#include "sim/serving/serve.h"

namespace doublep::sim {

struct PointResult {
  DecodePoint point;
  DecodeCost cost;
  int largest_batch = 0;
  double kv_bytes = 0;  ///< of an element of the cache, with its part of the scales
  double prefill_seconds = 0, build_seconds = 0;  ///< of one sequence
};

struct ServingResult {
  double rate = 0;
  int requests = 0;
  ServingReport report;
  unsigned extrapolated = 0;
};

struct CrossoverResult {
  DecodePoint point;
  std::int64_t from = 0, to = 0;
  double kv_bytes = 0;  ///< as PointResult's
  Crossover found;
};

struct AnswerResult {
  DecodePoint point;           ///< its context is the prompt's
  std::int64_t output = 0;     ///< tokens of dense's answer
  double ratio = 1;            ///< of this policy's tokens to them
  int questions = 0, cut = 0;  ///< as AnswerLength's; 0: the ratio was given
  double kv_bytes = 0;
  AnswerCost cost;
};

/// One line of plots: a policy on a workload, a model, a machine, under a what-if.
struct Curve {
  std::string study, hardware, what_if, model, workload, policy, label, title, parameters;
  double output_error = 0, covered_mass = 0;  ///< as profiled on the longest trace
  std::vector<PointResult> points;
  std::vector<ServingResult> serving;
  std::vector<CrossoverResult> crossover;
  std::vector<AnswerResult> answers;
};

struct SimulationResult {
  std::vector<Profile> profiles;  ///< read or measured
  std::optional<Calibration> calibration;
  std::optional<EndToEnd> end_to_end;
  std::vector<Curve> curves;
};

/// What happens, for a person who waits.
using Note = std::function<void(const std::string&)>;

/// Profiles of every workload: files first, then traces measured now.
std::vector<std::vector<Profile>> collect_profiles(const SimulationPlan& plan, const Note& note);

SimulationResult simulate(const SimulationPlan& plan, const Note& note);

/// The first prediction that is no finite number, and where it stands: figures of a profile or a
/// description have overflowed. Empty: there is none.
std::string find_overflow(const SimulationResult& result);

/// Requests, a server made of the cost model, one report per arrival rate.
std::vector<ServingResult> run_serving(const ServingPlan& plan, const Model& model,
                                       const Machine& machine, const Workload& workload,
                                       const Coverage& coverage);

/// Calibration and its error, then one line per point: time, attention, bound, against dense.
void print_simulation(const SimulationResult& result, std::ostream& out);

/// The result file (SIMULATION_FORMAT.md), of the family of doublep-result. Replaces `path`
/// atomically. Throws InputError.
void write_simulation(const std::string& path, const SimulationPlan& plan,
                      const SimulationResult& result);

}  // namespace doublep::sim
