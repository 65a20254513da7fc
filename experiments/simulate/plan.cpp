#include "experiments/simulate/plan.h"

#include <cmath>
#include <set>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/trace/source.h"
#include "experiments/config/values.h"
#include "experiments/simulate/inputs.h"

namespace doublep::sim {
namespace {

// One value, a list or a range of a decode key, as numbers.
std::vector<double> read_numbers(const Yaml& node, double low, double high = kNoLimit) {
  std::vector<double> numbers;
  for (const ParamValue& value : expand_values(node)) {
    const auto* whole = std::get_if<std::int64_t>(&value);
    const auto* real = std::get_if<double>(&value);
    if (!whole && !real) node.fail("expected numbers, not '" + to_text(value) + "'");
    const double x = whole ? static_cast<double>(*whole) : *real;
    if (x < low || x > high)
      node.fail(high < kNoLimit ? concat("expected numbers in [", low, ", ", high, "], not ", x)
                                : concat("expected numbers of at least ", low, ", not ", x));
    numbers.push_back(x);
  }
  return numbers;
}

// The same of what is counted: 1.9 is no batch.
std::vector<std::int64_t> read_integers(const Yaml& node, double low, double high) {
  std::vector<std::int64_t> integers;
  for (double x : read_numbers(node, low, high)) {
    if (x != std::floor(x)) node.fail("expected integers, not " + shortest_text(x));
    integers.push_back(static_cast<std::int64_t>(x));
  }
  return integers;
}

// Multiplies the points by the values of one key, where it is given.
template <class Values, class Set>
void expand(const Values& values, std::vector<DecodePoint>& points, const Set& set) {
  std::vector<DecodePoint> longer;
  for (const DecodePoint& point : points)
    for (const auto& value : values) set(longer.emplace_back(point), value);
  points = std::move(longer);
}
template <class Set>
void expand_numbers(const Yaml& decode, const char* key, double low, double high,
                    std::vector<DecodePoint>& points, const Set& set) {
  if (decode.has(key)) expand(read_numbers(decode.at(key), low, high), points, set);
}
template <class Set>
void expand_integers(const Yaml& decode, const char* key, double low, double high,
                     std::vector<DecodePoint>& points, const Set& set) {
  if (decode.has(key)) expand(read_integers(decode.at(key), low, high), points, set);
}

KvPlace read_place(const Yaml& node, const std::string& text) {
  if (text == "hbm") return KvPlace::kHbm;
  if (text == "host") return KvPlace::kHost;
  node.fail("expected hbm or host, not '" + text + "'");
}

template <class Set>
void expand_texts(const Yaml& decode, const char* key, std::vector<DecodePoint>& points,
                  const Set& set) {
  if (!decode.has(key)) return;
  const Yaml node = decode.at(key);
  std::vector<Yaml> values;
  if (node.is_list())
    values = node.items();
  else
    values.push_back(node);
  expand(values, points, set);
}

// Everything but context and batch, so that serving shares it.
void expand_setting(const Yaml& node, std::vector<DecodePoint>& points) {
  expand_texts(node, "kv_place", points, [](DecodePoint& p, const Yaml& value) {
    p.place = read_place(value, value.text());
  });
  expand_texts(node, "kv_dtype", points,
               [](DecodePoint& p, const Yaml& value) { p.kv_dtype = read_dtype(value); });
  expand_texts(node, "balance", points, [](DecodePoint& p, const Yaml& value) {
    const std::string text = value.text();
    if (text != "split" && text != "head") value.fail("expected split or head, not '" + text + "'");
    p.balance = text == "split" ? Balance::kSplit : Balance::kHead;
  });
  expand_integers(node, "tensor_parallel", 1, 1024, points,
                  [](DecodePoint& p, std::int64_t x) { p.tensor_parallel = static_cast<int>(x); });
  expand_numbers(node, "cache_share", 1e-6, 1, points,
                 [](DecodePoint& p, double x) { p.cache_share = x; });
  expand_numbers(node, "recluster_every", 0, kNoLimit, points,
                 [](DecodePoint& p, double x) { p.recluster_every = x; });
  expand_numbers(node, "memory_share", 1e-3, 1, points,
                 [](DecodePoint& p, double x) { p.memory_share = x; });
}

void refuse_too_many(const Yaml& node, double points) {
  if (points > kMostRuns)
    node.fail(concat("comes to ", points, " points, more than ", kMostRuns,
                     "; shorten the lists, or say --yes if you mean it"));
}

std::vector<DecodePoint> read_points(const Yaml& decode, bool any_number) {
  decode.only({"context", "batch", "tensor_parallel", "kv_dtype", "kv_place", "cache_share",
               "recluster_every", "balance", "memory_share"});
  double count = 1;  // before they are made
  for (const std::string& key : decode.keys())
    count *= static_cast<double>(expand_values(decode.at(key)).size());
  if (!any_number) refuse_too_many(decode, count);
  std::vector<DecodePoint> points = {{}};
  expand_setting(decode, points);
  expand_integers(decode, "batch", 1, 1e6, points,
                  [](DecodePoint& p, std::int64_t x) { p.batch = static_cast<int>(x); });
  decode.at("context");
  expand_integers(decode, "context", 1, 1e12, points,
                  [](DecodePoint& p, std::int64_t x) { p.context = x; });
  return points;
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
             "kv_dtype", "cache_share", "tensor_parallel", "recluster_every", "balance",
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

Study read_study(const Yaml& node, const Yaml& root, const std::string& name, std::uint64_t seed,
                 bool any_number) {
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
  // A study that brings a serving run of its own is about that; the root's decode points are not
  // its.
  if (node.has("decode") || (root.has("decode") && !node.has("serving")))
    study.points = read_points(own(node, root, "decode"), any_number);
  if (node.has("serving") || (root.has("serving") && !node.has("decode")))
    study.serving = read_serving(own(node, root, "serving"), seed);
  if (study.serving && !study.serving->recorded.empty())
    study.inputs.push_back(study.serving->recorded);
  if (study.points.empty() && !study.serving)
    node.fail("expected `decode` or `serving`: there is nothing to simulate");
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
  for (const Study& s : studies)
    sum += s.hardware.size() * s.what_if.size() * s.models.size() * workloads.size() *
           policies.size() * (s.points.size() + (s.serving ? s.serving->rates.size() : 0));
  return sum;
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
             "policies", "calibration", "what_if", "decode", "serving", "studies", "skip_invalid"});
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
      item.only({"name", "hardware", "models", "what_if", "decode", "serving"});
      plan.studies.push_back(
          read_study(item, root, file_name_part(item.at("name")), plan.seed, any_number));
    }
    require_distinct(root.at("studies"), plan.studies);
  } else {
    plan.studies.push_back(read_study(root, root, plan.name, plan.seed, any_number));
  }
  if (!any_number) refuse_too_many(root, static_cast<double>(plan.num_points()));
  YAML::Emitter emitter;
  emitter << root.node();
  plan.config = emitter.c_str();
  return plan;
}

}  // namespace doublep::sim
