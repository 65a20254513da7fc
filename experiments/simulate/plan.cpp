#include "experiments/simulate/plan.h"

#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/trace/source.h"
#include "experiments/config/values.h"
#include "experiments/simulate/inputs.h"
#include "experiments/simulate/points.h"
#include "sim/decode/latent.h"

namespace doublep::sim {
namespace {

std::vector<DecodePoint> read_decode(const Yaml& decode, bool any_number) {
  decode.only({"context", "batch", "tensor_parallel", "kv_dtype", "kv_group", "kv_place",
               "cache_share", "recluster_every", "balance", "memory_share"});
  if (!any_number) refuse_too_many(decode, combinations(decode));
  return read_points(decode, "context");
}

CrossoverPlan read_crossover(const Yaml& node, bool any_number) {
  node.only({"from", "to", "batch", "tensor_parallel", "kv_dtype", "kv_group", "kv_place",
             "cache_share", "recluster_every", "balance", "memory_share"});
  if (!any_number) refuse_too_many(node, combinations(node));
  CrossoverPlan plan;
  plan.from = node.integer("from", plan.from, 1, 1e12);
  plan.to = node.integer("to", plan.to, 1, 1e12);
  if (plan.from > plan.to)
    node.fail(concat("`from`, ", plan.from, ", exceeds `to`, ", plan.to, "; exchange them"));
  plan.points = read_points(node, "");
  return plan;
}

AnswerPlan read_answers(const Yaml& node, const std::vector<RunSpec>& policies, bool any_number) {
  node.only({"prompt", "tokens", "ratio", "rows", "batch", "tensor_parallel", "kv_dtype",
             "kv_group", "kv_place", "cache_share", "recluster_every", "balance", "memory_share"});
  if (!any_number) refuse_too_many(node, combinations(node));
  AnswerPlan plan;
  plan.points = read_points(node, "prompt");
  plan.tokens = read_integers(node.at("tokens"), 1, 1e9);
  if (node.has("rows") && node.has("ratio"))
    node.at("ratio").fail("stands beside `rows`, which say how long answers are; keep one of them");
  if (node.has("rows")) {
    plan.rows = input_path(node.at("rows"));
    plan.lengths = read_answer_lengths(plan.rows, policies);
  }
  const std::vector<double> given =
      node.has("ratio") ? read_numbers(node.at("ratio"), 1e-3, 1e3) : std::vector<double>{1.0};
  for (std::size_t p = 0; p < policies.size(); ++p) {
    if (!plan.lengths.empty())
      plan.ratios.push_back({plan.lengths[p].ratio});
    else if (PolicyRegistry::instance().find(policies[p].policy).traits.dense)
      plan.ratios.push_back({1.0});  // its answers are what the others are held against
    else
      plan.ratios.push_back(given);
  }
  return plan;
}

Length read_length(const Yaml& node) {
  node.only({"median", "sigma", "most"});
  Length length;
  length.median = node.at("median").real(1);
  length.sigma = node.real("sigma", 0, 0, 5);
  length.most = node.integer("most", 1 << 20, 1);
  if (length.median > static_cast<double>(length.most))
    node.at("median").fail(concat("expected at most `most`, ", length.most, ", not ", length.median,
                                  ": every length would be cut to it"));
  return length;
}

ServingPlan read_serving(const Yaml& node, std::uint64_t seed) {
  node.only({"requests", "rate", "prompt", "output", "recorded", "most_running", "kv_place",
             "kv_dtype", "kv_group", "cache_share", "tensor_parallel", "recluster_every", "balance",
             "memory_share"});
  ServingPlan plan;
  plan.requests.seed = seed;
  plan.most_running = static_cast<int>(node.integer("most_running", 256, 1, 1e6));
  if (node.has("recorded")) {
    plan.recorded = input_path(node.at("recorded"));
    plan.rates = {0};
  } else {
    plan.requests.count = static_cast<int>(node.at("requests").integer(1, 1e7));
    plan.requests.prompt = read_length(node.at("prompt"));
    plan.requests.output = read_length(node.at("output"));
    plan.rates = read_numbers(node.at("rate"), 0);
  }
  std::vector<DecodePoint> settings = {{}};
  expand_setting(node, settings);
  if (settings.size() != 1) node.fail("a serving run takes one setting; make a study for each");
  plan.setting = settings.front();
  return plan;
}

// A study's own value of a key, or the root's.
Yaml own(const Yaml& study, const Yaml& root, const char* key) {
  return study.has(key) ? study.at(key) : root.at(key);
}
bool has(const Yaml& study, const Yaml& root, const char* key) {
  return study.has(key) || root.has(key);
}

// Curves are told apart by the names of these.
template <class Named>
void require_distinct(const Yaml& list, const std::vector<Named>& all) {
  const std::vector<Yaml> items = list.items();
  std::set<std::string> names;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (!names.insert(all[i].name).second)
      items[i].fail("the name '" + all[i].name + "' stands before already; give it one of its own");
}

// `read` and its result of a study's key, where the study has it, or the root has and the study
// brings nothing of its own: a study about one thing is not about what the root asks besides.
template <class Read, class Into>
void read_asked(const Yaml& study, const Yaml& root, const char* key, const Read& read,
                Into& into) {
  bool own_key = false;
  for (const char* asked : {"decode", "serving", "crossover", "answer"})
    own_key |= study.has(asked);
  if (study.has(key) || (root.has(key) && !own_key)) into = read(own(study, root, key));
}

Study read_study(const Yaml& node, const Yaml& root, const std::string& name,
                 const SimulationPlan& plan, bool any_number) {
  Study study;
  study.name = name;
  for (const auto& path : input_paths(own(node, root, "hardware"))) {
    study.hardware.push_back(load_hardware(path));
    study.inputs.push_back(path);
  }
  for (const auto& path : input_paths(own(node, root, "models"))) {
    study.models.push_back(load_model(path));
    study.inputs.push_back(path);
  }
  require_distinct(own(node, root, "hardware"), study.hardware);
  require_distinct(own(node, root, "models"), study.models);
  if (has(node, root, "what_if")) {
    for (const Yaml& item : own(node, root, "what_if").items())
      study.what_if.push_back(read_scale(item));
    require_distinct(own(node, root, "what_if"), study.what_if);
  } else {
    study.what_if.push_back({});
  }
  const auto ask = [&](const char* key, const auto& read, auto& into) {
    read_asked(node, root, key, read, into);
  };
  ask(
      "decode", [&](const Yaml& y) { return read_decode(y, any_number); }, study.points);
  ask(
      "serving", [&](const Yaml& y) { return read_serving(y, plan.seed); }, study.serving);
  ask(
      "crossover", [&](const Yaml& y) { return read_crossover(y, any_number); }, study.crossover);
  ask(
      "answer", [&](const Yaml& y) { return read_answers(y, plan.policies, any_number); },
      study.answers);
  if (study.serving && !study.serving->recorded.empty())
    study.inputs.push_back(study.serving->recorded);
  if (study.answers && !study.answers->rows.empty()) study.inputs.push_back(study.answers->rows);
  if (study.points.empty() && !study.serving && !study.crossover && !study.answers)
    node.fail(
        "expected `decode`, `serving`, `crossover` or `answer`: there is nothing to simulate");
  const bool dense = std::any_of(plan.policies.begin(), plan.policies.end(), [](const RunSpec& p) {
    return PolicyRegistry::instance().find(p.policy).traits.dense;
  });
  if (study.crossover && !dense)
    root.at("policies").fail("`crossover` holds policies against dense; name it among them");
  return study;
}

WorkloadPlan read_workload(const Yaml& node) {
  node.only({"name", "profiles", "traces"});
  WorkloadPlan plan;
  plan.name = file_name_part(node.at("name"));
  if (node.has("profiles")) plan.profiles = input_paths(node.at("profiles"));
  if (node.has("traces")) plan.traces = input_paths(node.at("traces"));
  if (plan.profiles.empty() && plan.traces.empty()) node.fail("expected `profiles` or `traces`");
  return plan;
}

}  // namespace

std::size_t SimulationPlan::num_points() const {
  std::size_t sum = 0;
  for (const Study& s : studies) {
    std::size_t each = 0;
    for (const Model& m : s.models)
      for (std::size_t p = 0; p < policies.size(); ++p) {
        if (!refusal(m, policies[p]).empty()) continue;
        each += s.points.size() + (s.serving ? s.serving->rates.size() : 0) +
                (s.crossover ? s.crossover->points.size() : 0);
        if (s.answers)
          each += s.answers->points.size() * s.answers->tokens.size() * s.answers->ratios[p].size();
      }
    sum += s.hardware.size() * s.what_if.size() * workloads.size() * each;
  }
  return sum;
}

std::string refusal(const Model& model, const RunSpec& policy) {
  return latent_refusal(model, PolicyRegistry::instance().find(policy.policy), policy.parameters);
}

std::vector<std::string> SimulationPlan::inputs() const {
  std::vector<std::string> all = {path};
  for (const std::string& file : {calibration.points, calibration.end_to_end})
    if (!file.empty()) all.push_back(file);
  for (const WorkloadPlan& w : workloads) {
    all.insert(all.end(), w.profiles.begin(), w.profiles.end());
    for (const std::string& trace : w.traces)
      for (std::string& file : trace_files(trace)) all.push_back(std::move(file));
  }
  for (const Study& s : studies) all.insert(all.end(), s.inputs.begin(), s.inputs.end());
  return all;
}

SimulationPlan load_plan(const std::string& path, const std::vector<std::string>& overrides,
                         bool any_number) {
  Yaml root = Yaml::load(path);
  if (!root.is_map())
    root.fail("expected a map with the keys hardware, models, workloads, policies");
  for (const std::string& text : overrides) apply_override(root, text);
  root.only({"name", "output", "seed", "hardware", "models", "workloads", "measure", "defaults",
             "policies", "calibration", "what_if", "decode", "serving", "crossover", "answer",
             "studies", "skip_invalid"});
  SimulationPlan plan;
  plan.path = path;
  plan.name = config_name(root);
  plan.output = root.text("output", "results/" + plan.name + ".h5");
  plan.seed = static_cast<std::uint64_t>(root.integer("seed", 0, 0));
  plan.policies = expand_policies(root, 1, any_number).runs;
  for (const RunSpec& run : plan.policies)
    if (!run.by_layer.empty())
      root.at("policies").fail("the simulator takes one set of parameters for all layers");
  for (const Yaml& item : root.at("workloads").items())
    plan.workloads.push_back(read_workload(item));
  require_distinct(root.at("workloads"), plan.workloads);
  if (root.has("measure")) {
    const Yaml measure = root.at("measure").only({"every_step", "max_steps"});
    plan.measure.every_step = measure.integer("every_step", 1, 1);
    plan.measure.max_steps = measure.integer("max_steps", 0, 0);
  }
  plan.measure.seed = plan.seed;
  if (root.has("calibration")) {
    const Yaml c = root.at("calibration").only({"points", "hardware", "hold_out", "end_to_end"});
    plan.calibration.points = input_path(c.at("points"));
    if (c.has("end_to_end")) plan.calibration.end_to_end = input_path(c.at("end_to_end"));
    plan.calibration.hardware = c.at("hardware").text();
    plan.calibration.hold_out = static_cast<int>(c.integer("hold_out", 3, 0, 1e6));
  }
  if (root.has("studies")) {
    for (const Yaml& item : root.at("studies").items()) {
      item.only(
          {"name", "hardware", "models", "what_if", "decode", "serving", "crossover", "answer"});
      plan.studies.push_back(
          read_study(item, root, file_name_part(item.at("name")), plan, any_number));
    }
    require_distinct(root.at("studies"), plan.studies);
  } else {
    plan.studies.push_back(read_study(root, root, plan.name, plan, any_number));
  }
  if (!root.flag("skip_invalid", false))
    for (const Study& study : plan.studies)
      for (const Model& model : study.models)
        for (const RunSpec& policy : plan.policies)
          if (const std::string why = refusal(model, policy); !why.empty())
            root.at("policies").fail(why + ", or leave such pairs out with `skip_invalid: true`");
  if (!any_number) refuse_too_many(root, static_cast<double>(plan.num_points()));
  YAML::Emitter emitter;
  emitter << root.node();
  plan.config = emitter.c_str();
  return plan;
}

}  // namespace doublep::sim
