#include "experiments/simulate/simulation.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/yaml/yaml.h"
#include "experiments/simulate/inputs.h"
#include "sim/cost/roofline.h"
#include "sim/decode/decode.h"
#include "sim/profile/profile.h"

namespace doublep::sim {
namespace {

// Parameters that the policy has gained since the profile was recorded stand at their defaults in
// it.
bool matches(const Profile& profile, const RunSpec& policy) {
  if (profile.policy != policy.policy) return false;
  try {
    const Yaml recorded = Yaml::parse(profile.parameters, "profile of " + profile.policy);
    std::map<std::string, ParamValue> values;
    for (const std::string& key : recorded.keys()) values[key] = recorded.at(key).value();
    return resolve(PolicyRegistry::instance().find(policy.policy), values).to_json() ==
           policy.parameters.to_json();
  } catch (const InputError&) {
    return false;  // a parameter that the policy has no longer: another program's profile
  }
}

// The profiles of one policy on one workload, or a message that says how to get them.
Workload workload_of(const WorkloadPlan& plan, const std::vector<Profile>& profiles,
                     const RunSpec& policy) {
  const PolicyInfo& info = PolicyRegistry::instance().find(policy.policy);
  std::vector<Profile> mine;
  for (const Profile& p : profiles)
    if (matches(p, policy)) {
      mine.push_back(p);
      mine.back().parameters = policy.parameters.to_json();
      describe(mine.back(), info, policy.parameters);
    }
  if (mine.empty())
    fail_input("workload ", plan.name, ": no profile of ", policy.policy, " with ",
               policy.parameters.to_json(),
               "; name its traces under `traces`, or record them with --record");
  return Workload(plan.name, std::move(mine));
}

double kv_bytes(const Model& model, const DecodePoint& point) {
  return model.token_bytes(point.kv) / (model.latent ? model.key_dim() : 2.0 * model.head_dim);
}

PointResult simulate_point(const Model& model, const Machine& machine, const Workload& workload,
                           const DecodePoint& point, const Coverage& coverage) {
  PointResult result;
  result.point = point;
  result.cost = decode_step(model, machine, workload, point, coverage);
  result.kv_bytes = kv_bytes(model, point);
  result.largest_batch = largest_batch(model, machine, workload, point);
  result.prefill_seconds = prefill_seconds(model, machine, point.context, point.tensor_parallel);
  result.build_seconds =
      build_seconds(model, machine, workload, point.context, point.tensor_parallel);
  return result;
}

bool untouched(const Scale& s) {
  return s.memory_bandwidth == 1 && s.compute == 1 && s.host_link == 1 && s.interconnect == 1 &&
         s.memory_capacity == 1 && s.launch_overhead == 1;
}

// A fitted latency holds a launch and what a kernel does beside its bytes: the first part is
// scaled.
Efficiency scaled(Efficiency e, const Hardware& hardware, const Scale& scale) {
  const double less = hardware.launch_overhead.value * (1 - scale.launch_overhead);
  const auto lower = [&](double& latency) {
    if (latency >= 0) latency = std::max(0.0, latency - less);
  };
  for (KernelFit& k : e.kernels) lower(k.latency);
  for (SearchFit& s : e.searches) lower(s.latency);
  lower(e.small_latency);
  return e;
}

// Fits what whole steps add to what attention alone has given.
EndToEnd end_to_end(const SimulationPlan& plan, const Hardware& hardware, Efficiency& efficiency) {
  MeasuredModel measured = load_measured_model(plan.calibration.end_to_end);
  for (const Study& study : plan.studies)
    for (const Model& model : study.models)
      if (model.name == measured.model) {
        check_shape(measured.path, model);
        return fit_end_to_end(hardware, model, std::move(measured), {plan.calibration.hold_out},
                              efficiency);
      }
  fail_input(measured.path, ": model: '", measured.model, "' is not among the models of any study");
}

// A study's curves in the order of its lists, without their points yet.
struct Job {
  const Study* study;
  Machine machine;
  Coverage coverage;
  const Model* model;
  const Workload* workload;
  const Workload* dense;  ///< of the same traces; none: the plan has no such policy
  std::size_t policy;
};

// Everything that the study asks of one curve.
void fill(const Job& job, Curve& curve) {
  const Study& study = *job.study;
  const Model& model = *job.model;
  for (const DecodePoint& point : study.points)
    curve.points.push_back(simulate_point(model, job.machine, *job.workload, point, job.coverage));
  if (study.serving)
    curve.serving = run_serving(*study.serving, model, job.machine, *job.workload, job.coverage);
  if (study.crossover && job.workload != job.dense)
    for (const DecodePoint& point : study.crossover->points)
      curve.crossover.push_back(
          {point, study.crossover->from, study.crossover->to, kv_bytes(model, point),
           crossover(model, job.machine, *job.workload, *job.dense, point, study.crossover->from,
                     study.crossover->to, job.coverage)});
  if (!study.answers) return;
  const AnswerPlan& plan = *study.answers;
  const AnswerLength length = plan.lengths.empty() ? AnswerLength{} : plan.lengths[job.policy];
  for (const DecodePoint& point : plan.points)
    for (const std::int64_t output : plan.tokens)
      for (const double ratio : plan.ratios[job.policy])
        curve.answers.push_back({point, output, ratio, length.questions, length.cut,
                                 kv_bytes(model, point),
                                 answer_cost(model, job.machine, *job.workload, point,
                                             ratio * static_cast<double>(output), job.coverage)});
}

}  // namespace

std::vector<std::vector<Profile>> collect_profiles(const SimulationPlan& plan, const Note& note) {
  std::vector<std::vector<Profile>> all;
  for (const WorkloadPlan& workload : plan.workloads) {
    std::vector<Profile>& profiles = all.emplace_back();
    for (const std::string& path : workload.profiles)
      for (Profile& p : read_profiles(path)) profiles.push_back(std::move(p));
    for (const std::string& path : workload.traces) {
      const Trace trace = Trace::open(path);
      for (const RunSpec& policy : plan.policies) {
        note(concat("profiling ", policy.label, " on ", trace.info().name));
        profiles.push_back(measure_profile(trace, PolicyRegistry::instance().find(policy.policy),
                                           policy.parameters, plan.measure));
      }
    }
  }
  return all;
}

std::string find_overflow(const SimulationResult& result) {
  for (const Curve& c : result.curves) {
    const std::string place = concat(c.study, ", ", c.label, " on workload ", c.workload, ", ",
                                     c.model, " on ", c.hardware);
    for (const PointResult& p : c.points)
      for (double x : {p.cost.seconds, p.cost.attention, p.cost.bytes, p.cost.memory,
                       p.prefill_seconds, p.build_seconds, c.output_error, c.covered_mass})
        if (!std::isfinite(x))
          return concat(place, ", context ", p.point.context, ", batch ", p.point.batch);
    for (const ServingResult& s : c.serving)
      if (!std::isfinite(s.report.seconds)) return concat(place, ", ", s.rate, " requests/s");
    for (const AnswerResult& a : c.answers)
      if (!std::isfinite(a.cost.seconds)) return concat(place, ", prompt ", a.point.context);
  }
  return "";
}

SimulationResult simulate(const SimulationPlan& plan, const Note& note) {
  SimulationResult result;
  const auto profiles = collect_profiles(plan, note);
  std::vector<std::vector<Workload>> workloads;  // [workload][policy]
  for (std::size_t w = 0; w < plan.workloads.size(); ++w) {
    auto& list = workloads.emplace_back();
    for (const RunSpec& policy : plan.policies) {
      list.push_back(workload_of(plan.workloads[w], profiles[w], policy));
      for (const Profile& p : profiles[w])
        if (matches(p, policy)) result.profiles.push_back(p);
    }
  }
  if (!plan.calibration.points.empty()) {
    const Hardware* measured = nullptr;
    for (const Study& study : plan.studies)
      for (const Hardware& h : study.hardware)
        if (h.name == plan.calibration.hardware) measured = &h;
    if (!measured)
      fail_input(plan.path, ": calibration.hardware: '", plan.calibration.hardware,
                 "' is not among the hardware of any study");
    result.calibration =
        calibrate(*measured, load_measured(plan.calibration.points), {plan.calibration.hold_out});
    if (!plan.calibration.end_to_end.empty())
      result.end_to_end = end_to_end(plan, *measured, result.calibration->efficiency);
  }
  std::vector<Job> jobs;
  std::set<std::string> left_out;
  for (const Study& study : plan.studies)
    for (const Hardware& hardware : study.hardware)
      for (const Scale& scale : study.what_if)
        for (const Model& model : study.models)
          for (std::size_t w = 0; w < plan.workloads.size(); ++w)
            for (std::size_t p = 0; p < plan.policies.size(); ++p) {
              const Workload& workload = workloads[w][p];
              const RunSpec& policy = plan.policies[p];
              if (const std::string why = refusal(model, policy); !why.empty()) {
                left_out.insert(why);
                continue;
              }
              Job job{&study, {scaled(hardware, scale), {}}, {}, &model, &workload, nullptr, p};
              for (std::size_t d = 0; d < plan.policies.size() && !job.dense; ++d)
                if (PolicyRegistry::instance().find(plan.policies[d].policy).traits.dense)
                  job.dense = &workloads[w][d];
              if (result.calibration) {
                job.machine.efficiency = scaled(result.calibration->efficiency, hardware, scale);
                if (hardware.name == plan.calibration.hardware && untouched(scale)) {
                  job.coverage = result.calibration->coverage();
                  job.coverage.products = result.end_to_end.has_value();
                }
              }
              jobs.push_back(std::move(job));
              result.curves.push_back({study.name,
                                       hardware.name,
                                       scale.name,
                                       model.name,
                                       workload.name(),
                                       policy.policy,
                                       policy.label,
                                       policy.title,
                                       policy.parameters.to_json(),
                                       workload.output_error(),
                                       workload.covered_mass(),
                                       {},
                                       {},
                                       {},
                                       {}});
            }
  for (const std::string& why : left_out) note("left out: " + why);
  note(concat("simulating ", plan.num_points(), " points"));
  parallel_for(static_cast<std::int64_t>(jobs.size()),
               [&](std::int64_t i) { fill(jobs[i], result.curves[i]); });
  return result;
}

}  // namespace doublep::sim
