// From the registry's words to plans, and from what was touched to costs. None of it needs a
// device.
#include <filesystem>
#include <set>
#include <sstream>

#include "cuda/decoder/planned.h"
#include "experiments/bench/setting.h"
#include "experiments/bench/subject.h"
#include "tests/parity/support.h"
#include "tests/support/message.h"

namespace doublep::test {
namespace {

using cuda::Plan;
using cuda::StopPlan;
const cuda::Request kShape{32, 8, 128, KvDtype::kBf16};

Parameters parameters_of(const std::string& policy,
                         const std::map<std::string, ParamValue>& given = {}) {
  return resolve(PolicyRegistry::instance().find(policy), given);
}
Plan plan_of(const std::string& policy, const std::map<std::string, ParamValue>& given = {}) {
  return cuda::plan_for(policy, parameters_of(policy, given), kShape);
}

/// The selections of one group as the device would list them.
cuda::Touched touched_of(const std::vector<Selection>& heads, double items, double zone) {
  cuda::Touched t;
  t.items = items, t.zone = zone, t.heads.resize(heads.size());
  std::set<std::int32_t> tokens, terms;
  for (std::size_t h = 0; h < heads.size(); ++h) {
    tokens.insert(heads[h].tokens.begin(), heads[h].tokens.end());
    for (const ClusterTerm& term : heads[h].terms) terms.insert(term.cluster);
    t.heads[h].tokens = static_cast<double>(heads[h].tokens.size());
    t.heads[h].terms = static_cast<double>(heads[h].terms.size());
  }
  t.tokens = static_cast<double>(tokens.size()), t.terms = static_cast<double>(terms.size());
  return t;
}

std::vector<bench::Setting> settings_of(const std::vector<std::string>& texts,
                                        const std::vector<std::string>& defaults = {}) {
  return bench::parse_settings(texts, defaults, kShape);
}

}  // namespace

TEST_CASE("every policy of the device is core's, and is served as it comes", "[plan]") {
  std::set<std::string> names;
  for (const cuda::DevicePolicy& policy : cuda::device_policies()) {
    INFO(policy.name);
    CHECK(names.insert(policy.name).second);
    const PolicyInfo& info = PolicyRegistry::instance().find(policy.name);
    std::set<std::string> listed;
    for (const cuda::Supported& supported : policy.parameters) {
      INFO(supported.parameter);
      CHECK(listed.insert(supported.parameter).second);
      const auto spec =
          std::find_if(info.parameters.begin(), info.parameters.end(),
                       [&](const ParamSpec& s) { return s.name == supported.parameter; });
      REQUIRE(spec != info.parameters.end());
      // A listed value is one that the registry takes.
      for (const std::string& value : supported.values)
        if (spec->type == ParamSpec::Type::kChoice)
          CHECK(std::count(spec->choices.begin(), spec->choices.end(), value) == 1);
    }
    CHECK(cuda::refusal(policy.name, resolve(info, {}), kShape) == "");
  }
  CHECK(names.size() >= 8);
}

TEST_CASE("a parameter that nobody listed is refused, whatever its value", "[plan]") {
  ParamSpecs specs = PolicyRegistry::instance().find("quest").parameters;
  specs.push_back(integer("speed", 0, "of light"));
  const std::string line = cuda::refusal("quest", Parameters("quest", specs, {}), kShape);
  CHECK(contains(line, "missing parameter speed."));
  CHECK(contains(line, "\"speed\": 0"));                              // what was required
  CHECK(contains(line, "of quest sink, window, budget, page_size"));  // what is supported
  CHECK(
      contains(message_of([&] { cuda::plan_for("quest", Parameters("quest", specs, {}), kShape); }),
               "speed"));
}

TEST_CASE("values of another width than keys are refused", "[plan]") {
  cuda::Request latent = kShape;
  latent.value_dim = 64;
  CHECK(contains(cuda::refusal("dense", parameters_of("dense"), latent),
                 "missing value_dim 64 other than head_dim."));
  latent.value_dim = 128;
  CHECK(cuda::refusal("dense", parameters_of("dense"), latent) == "");
}

TEST_CASE("plans follow the parameters", "[plan]") {
  const Plan ours = plan_of("double_p", {{"p1", 0.9},
                                         {"p2", 0.4},
                                         {"estimator", std::string("second_order")},
                                         {"gqa", std::string("group_sum")},
                                         {"mass_scope", std::string("all")},
                                         {"outside", std::string("estimate")},
                                         {"value_side", std::string("shifted")},
                                         {"window", std::int64_t{32}},
                                         {"recluster_every", std::int64_t{100}}});
  CHECK(ours.clustered());
  CHECK(ours.stop.rule == StopPlan::Rule::kMass);
  CHECK(ours.target_p == 0.9);
  CHECK(ours.index.recluster_every == 100);
  CHECK_FALSE(ours.index.grows);
  CHECK(ours.index.clustering.value_map);
  const cuda::StepOptions options = ours.options(0.25, 1000, ours.zone(700));
  CHECK(options.scale == 0.25f);
  CHECK(options.keep == 0.9);
  CHECK(options.refine == 0.4);
  CHECK(options.estimator == cuda::MassEstimate::kSecondOrder);
  CHECK(options.terms);
  CHECK(options.outside_terms);
  CHECK(options.value_shift);
  CHECK(options.group_mode == cuda::GroupMode::kSum);
  CHECK(options.zone_capacity == 4 + 1000 - (700 - 32));
  CHECK(options.rule == cuda::SelectRule::kMass);

  const std::map<std::string, ParamValue> by_error =
      test::best(
          {{"share", 0.02}, {"kmeans_seed", std::int64_t{3}}, {"segment", std::int64_t{300}}})
          .given;
  const Plan best = plan_of("double_p", by_error);
  CHECK(best.ranked());
  CHECK(best.pooled());
  CHECK(best.index.clustering.key_shape);
  CHECK(best.index.metric.kind == MetricOptions::Kind::kAuto);
  const cuda::StepOptions ranked = best.options(1, 1000, best.zone(700));
  CHECK(ranked.rule == cuda::SelectRule::kTokens);
  CHECK(ranked.rank == cuda::RankBy::kError);
  CHECK_FALSE(ranked.votes);
  CHECK(ranked.share == 0.02);
  CHECK(ranked.zone_capacity == 4 + 1000 - (700 - 64));
  CHECK(plan_of("double_p", test::best({{"objective", std::string("error")}}).given).step.votes);
  // Each segment begins at points of its own, those that core takes, and no head has a metric.
  const auto clustering = cuda::clustering_of(best.index, 500, cuda::Warps(2));
  const auto points = first_points(300, 18, {.init = KmeansOptions::Init::kRandom, .seed = 3});
  REQUIRE(clustering.first.size() == 18 + 12);
  CHECK(std::equal(points.begin(), points.end(), clustering.first.begin()));
  CHECK(clustering.warp.empty());
  // Of a long cache without a word on segments, as core parts it.
  CHECK(cuda::clusters_of(1 << 20, plan_of("double_p", {}).index.clustering) ==
        total_clusters(make_segments(1 << 20, 16, 0, 0)));
  // A metric comes over its largest absolute row sum, 160 here.
  const auto wide = std::make_shared<const MatrixD>(MatrixD{{80, -40}, {-40, 120}});
  CHECK(cuda::clustering_of(best.index, 500, {nullptr, wide}).warp ==
        std::vector<float>{1, 0, 0, 1, 0.5f, -0.25f, -0.25f, 0.75f});
  const auto none = std::make_shared<const MatrixD>(MatrixD::Zero(2, 2));
  CHECK(cuda::clustering_of(best.index, 500, {none}).warp == std::vector<float>(4, 0.f));
  CHECK(cuda::warped_share({nullptr, wide}) == 0.5);
  const auto refused = [&](const char* name, ParamValue value) {
    auto given = by_error;
    given[name] = value;
    return cuda::refusal("double_p", parameters_of("double_p", given), kShape);
  };
  CHECK(contains(refused("stop", std::string("mass")), "missing order error with stop mass"));
  CHECK(contains(refused("gqa", std::string("per_head")), "missing gqa per_head with stop share"));
  CHECK(contains(refused("outside", std::string("drop")), "missing outside drop with stop share"));
  CHECK(contains(refused("estimator", std::string("jensen")),
                 "missing estimator jensen with order error"));
  // Errors are predicted without the values where factors are learnt, and for pooled clusters.
  CHECK(contains(refused("stop", std::string("price")), "missing stop price"));
  CHECK(
      contains(refused("stop", std::string("error")), "missing calibration none with stop error"));
  auto to_error = by_error;
  to_error["stop"] = std::string("error"), to_error["calibration"] = std::string("prompt");
  to_error["error"] = 0.1, to_error["tail"] = 2.0;
  const auto refused_with = [&](const char* name, const char* value) {
    auto given = to_error;
    given[name] = std::string(value);
    return cuda::refusal("double_p", parameters_of("double_p", given), kShape);
  };
  CHECK(contains(refused_with("calibration", "steps"), "missing calibration steps"));
  CHECK(contains(refused_with("gqa", "per_head"), "missing gqa per_head with stop error"));
  CHECK(contains(refused_with("head_kinds", "auto"), "missing head_kinds auto"));
  to_error["order"] = std::string("p2");
  CHECK(contains(refused_with("estimator", "jensen"), "missing estimator jensen with stop error"));
  const Plan errors = plan_of("double_p", to_error);
  CHECK(errors.ranked());
  CHECK(errors.by_error());
  const cuda::StepOptions left = errors.options(1, 1000, errors.zone(700));
  CHECK(left.rule == cuda::SelectRule::kError);
  CHECK(left.rank == cuda::RankBy::kP2);
  CHECK(left.error == 0.1);
  CHECK(left.tail == 2);
  CHECK(left.zone_capacity == 4 + 1000 - (700 - 64));

  const Plan retro = plan_of("retroinfer", {{"retrieval", 0.1}, {"estimation", 0.25}});
  CHECK(retro.index.grows);
  CHECK(retro.index.clustering.spherical);
  CHECK(retro.index.clustering.iterations == 9);  // the tenth is the assignment over all segments
  CHECK(retro.budgets(9999, 64, 41) == std::pair{15, 5});  // of those with members, rounded up
  CHECK(retro.options(1, 100, {}).rank_without_size);

  const Plan quest =
      plan_of("quest", {{"budget", std::int64_t{200}}, {"page_size", std::int64_t{24}}});
  CHECK(quest.items(1000) == 42);
  CHECK(quest.budgets(1000, 42, 42).first == 8);  // whole pages within the budget
  CHECK(quest.budgets(150, 7, 7).first == 7);     // more than there is: the partial one too
  CHECK(quest.options(1, 100, {}).pages);
  CHECK(quest.options(1, 100, {}).rule == cuda::SelectRule::kCount);
  CHECK(plan_of("cluster_top_k", {{"k", 0.25}}).budgets(9999, 40, 40) == std::pair{10, 10});
  CHECK(plan_of("twilight", {{"p", 0.7}}).options(1, 100, {}).twilight_p == 0.7);
  CHECK(plan_of("dense").step.kind == cuda::StepKind::kDense);
  CHECK(plan_of("dense").target_p == 1);
}

TEST_CASE("more clusters than a selection by tokens has room for are refused", "[plan]") {
  // An H100's blocks have 227 KiB of shared memory and eight share a KV head; an A100's 163 KiB.
  const auto tokens = cuda::SelectRule::kTokens, error = cuda::SelectRule::kError;
  const std::int64_t h100 = cuda::ranked_room(tokens, 232448, 9),
                     a100 = cuda::ranked_room(tokens, 166912, 8);
  CHECK(h100 == 8 * 26320);
  CHECK(a100 == 18128);
  // A stop by error needs 32 KiB of them for the sums of eight heads, 8 bytes an item.
  CHECK(cuda::ranked_room(error, 232448, 9) / 8 == h100 / 8 - 4096 - 96);
  const Plan ranked = plan_of("double_p", test::best().given);
  cuda::check_room(ranked, h100, h100);
  cuda::check_room(plan_of("double_p"), 10 * h100, h100);  // by mass any number goes
  const std::string line = message_of([&] { cuda::check_room(ranked, h100 + 1, h100); });
  CHECK(contains(line, "a KV head of 210561 clusters, expected at most 210560"));
  CHECK(contains(line, "raise tokens_per_cluster, set stop to mass, or use backend: cpu"));
}

TEST_CASE("what a selection touched costs what the reference counts for it", "[plan]") {
  const std::vector<Setup> setups = {
      {"dense", {}},
      {"streaming", {}},
      {"quest", {{"budget", std::int64_t{100}}}},
      {"cluster_top_k", {{"k", std::int64_t{9}}}},
      {"cluster_top_p", {{"mass_scope", std::string("all")}}},
      {"double_p", {{"estimator", std::string("second_order")}}},
      {"double_p", {{"value_side", std::string("shifted")}, {"gqa", std::string("group_sum")}}},
      best({{"share", 0.2}, {"mass_scope", std::string("all")}}),
      {"cluster_top_p", {{"estimator", std::string("pooled")}}},
      {"retroinfer", {{"retrieval", 0.2}}}};
  Case c;
  c.length = 300;
  c.fill();
  for (const Setup& setup : setups) {
    INFO(setup.policy);
    const Plan plan = plan_of(setup.policy, setup.given);
    const auto reference = on_cpu(setup, c.dtype);
    reference->prefill(c.cache());
    const StepResult step = reference->step(c.block(), Detail::kSelections);
    const std::vector<Selection> group(step.selections.begin(), step.selections.begin() + c.group);
    const ExactZone zone = plan.zone(c.length);
    GroupSelection counted(c.group);
    cuda::charge_step(plan,
                      touched_of(group, static_cast<double>(plan.items(c.length)),
                                 static_cast<double>(zone.size())),
                      c.head_dim, c.dtype, counted);
    for (int h = 0; h < c.group; ++h)
      for (int s = 0; s < kNumStages; ++s) {
        INFO("head " << h << ", stage " << kStageNames[s]);
        CHECK(counted.cost[h].stages[s].bytes == step.cost[h].stages[s].bytes);
        CHECK(counted.cost[h].stages[s].flops == step.cost[h].stages[s].flops);
      }
    // The index too: what it holds, and what building it took.
    const IndexCost index = reference->index_cost();
    const std::int64_t clustered = zone.tail_begin - zone.sink_end;
    const std::int64_t tokens = plan.clustered() ? clustered : c.length;
    CHECK(index.memory_bytes ==
          c.kv_heads * plan.index_bytes(plan.items(c.length), tokens, c.head_dim, c.dtype));
    const Work build = plan.clustered()
                           ? cuda::clustering_work(clustered, c.head_dim, plan.index.clustering)
                           : plan.paging_work(c.length, c.head_dim, c.dtype);
    CHECK(index.build.bytes == c.kv_heads * build.bytes);
    CHECK(index.build.flops == c.kv_heads * build.flops);
  }
}

TEST_CASE("settings of the benchmarks are in the registry's words", "[plan]") {
  const auto settings = settings_of(
      {"double_p:p1=0.9,p2=0.3,gqa=group_sum", "quest", "retroinfer:segment=64", "dense"},
      {"segment=8192"});
  CHECK(settings[0].label == "double_p:p1=0.9,p2=0.3,gqa=group_sum");
  CHECK(settings[0].parameters.real("p2") == 0.3);
  CHECK(settings[0].parameters.integer("segment") == 8192);
  CHECK(settings[0].plan.index.clustering.segment == 8192);
  CHECK(settings[2].parameters.integer("segment") == 64);  // its own word goes before the default
  CHECK(settings[1].parameters.to_json() == parameters_of("quest").to_json());
  CHECK(bench::in_order(settings) == std::vector<std::size_t>{3, 1, 2, 0});
  CHECK(bench::index_key(settings[0].plan) != bench::index_key(settings[2].plan));
  CHECK(bench::index_key(settings_of({"quest:budget=16"})[0].plan) ==
        bench::index_key(settings[1].plan));

  CHECK(settings_of({"dense"}, {"segment=1"}).size() == 1);  // a default need not be of all

  const auto says = [](const std::string& text, const std::vector<std::string>& defaults = {}) {
    return message_of([&] { settings_of({text}, defaults); });
  };
  CHECK(contains(says("qest"), "no policy is called 'qest'"));
  CHECK(contains(says("retroinfer:exact=0.1"), "no parameter 'exact'; it has retrieval"));
  CHECK(contains(says("quest:budget=many"), "budget is many, expected a share in [0, 1]"));
  CHECK(contains(says("quest:budget"), "expected parameter=value, not 'budget'"));
  CHECK(contains(says("quest:budget=1,budget=2"), "budget is there twice"));
  CHECK(contains(says("double_p:p1=0.5,p2=0.6"), "p2 (0.6) exceeds p1"));
  CHECK(contains(says("loki"), "missing policy loki"));
  CHECK(contains(says("double_p:estimator=diagonal"), "missing estimator diagonal"));
  CHECK(contains(says("quest", {"segmnt=1"}), "--default segmnt=1: no policy"));
}

TEST_CASE("a timed point says what it is in fields, and any label is one text", "[plan]") {
  auto setting = settings_of({"double_p:gqa=group_sum"})[0];
  setting.label = "a \"label\"\n\\";
  bench::Reads reads;
  reads.cost[Stage::kEstimate] = {100, 200}, reads.cost[Stage::kSelect] = {7, 8};
  reads.cost[Stage::kAttend] = {300, 400}, reads.select_items = 5;
  bench::Reads mean;
  mean.add(reads, 0.5), mean.add(reads, 0.5);
  CHECK(mean.bytes() == 400);  // what select reads, estimate has left in cache
  std::ostringstream out;
  bench::write_subject(setting, mean, {11, 12}, 0.5, out);
  for (const char* member :
       {"\"label\": \"a \\\"label\\\"\\n\\\\\"", "\"policy\": \"double_p\"",
        "\"parameters\": {\"alpha\": 0.05, \"audit\": 0,", "\"search\": \"clusters\"",
        "\"ranks_groups\": true", "\"dense\": false", "\"select_items\": 5", "\"bytes\": 400",
        "\"estimate_bytes\": 100", "\"select_flops\": 8", "\"attend_flops\": 400",
        "\"build_ms\": 0.5", "\"build_bytes\": 11"})
    CHECK(contains(out.str(), member));
}

}  // namespace doublep::test
