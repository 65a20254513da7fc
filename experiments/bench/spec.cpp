#include "experiments/bench/spec.h"

#include <algorithm>
#include <set>

#include "core/base/error.h"

namespace doublep::bench {

using cuda::GroupMode;
using cuda::SelectRule;
using cuda::StepKind;

namespace {

const std::map<std::string, std::set<std::string>>& known() {
  static const std::set<std::string> index = {"tokens_per_cluster", "segment", "iterations"};
  const auto with_index = [&](std::set<std::string> own) {
    own.insert(index.begin(), index.end());
    return own;
  };
  static const std::map<std::string, std::set<std::string>> table = {
      {"dense", {"warps", "registers"}},
      {"streaming", {"sink", "window"}},
      {"quest", {"budget"}},
      {"twilight", {"p", "base"}},
      {"retroinfer", with_index({"exact", "estimated"})},
      {"cluster_top_p", with_index({"p", "estimator", "gqa"})},
      {"double_p", with_index({"p1", "p2", "estimator", "outside", "gqa", "value_side"})}};
  return table;
}

}  // namespace

Spec parse_spec(const std::string& text, float scale) {
  Spec s;
  s.text = text, s.policy = text.substr(0, text.find(':'));
  const auto entry = known().find(s.policy);
  if (entry == known().end()) {
    std::string names;
    for (const auto& [name, keys] : known()) names += (names.empty() ? "" : ", ") + name;
    fail_input("bench: no policy '", s.policy, "'; there are ", names);
  }
  for (std::size_t at = text.find(':'); at != std::string::npos && at + 1 < text.size();) {
    const std::size_t end = text.find(',', at + 1), equal = text.find('=', at);
    if (equal == std::string::npos || equal > end)
      fail_input("bench: '", text, "': expected key=value after ", text.substr(0, at + 1));
    const std::string key = text.substr(at + 1, equal - at - 1);
    if (!entry->second.count(key)) {
      std::string names;
      for (const auto& name : entry->second) names += (names.empty() ? "" : ", ") + name;
      fail_input("bench: ", s.policy, " has no '", key, "'; it has ", names);
    }
    s.values[key] = text.substr(equal + 1, end == std::string::npos ? end : end - equal - 1);
    at = end;
  }
  const auto number = [&](const std::string& key, double fallback) {
    const auto it = s.values.find(key);
    if (it == s.values.end()) return fallback;
    try {
      return std::stod(it->second);
    } catch (const std::exception&) {
      fail_input("bench: '", text, "': ", key, " is '", it->second, "', expected a number");
    }
  };
  const auto word = [&](const std::string& key) {
    const auto it = s.values.find(key);
    return it == s.values.end() ? std::string() : it->second;
  };
  cuda::StepOptions& o = s.options;
  o.scale = scale;
  s.sink = static_cast<std::int64_t>(number("sink", 4));
  s.window = static_cast<std::int64_t>(number("window", 64));
  s.clustering.tokens_per_cluster = static_cast<std::int64_t>(number("tokens_per_cluster", 16));
  s.clustering.segment = static_cast<std::int64_t>(number("segment", 8192));
  s.clustering.iterations =
      static_cast<int>(number("iterations", s.policy == "retroinfer" ? 10 : 4));
  if (s.clustering.iterations < 1 || s.clustering.tokens_per_cluster < 1)
    fail_input("bench: '", text, "': iterations and tokens_per_cluster are at least 1");
  o.attend_warps = static_cast<int>(number("warps", 0));
  o.attend_registers = number("registers", 0) != 0;
  o.terms = false;
  if (s.policy == "dense") o.kind = StepKind::kDense;
  if (s.policy == "streaming") o.kind = StepKind::kZone;
  if (s.policy == "quest" || s.policy == "twilight") {
    o.kind = s.policy == "quest" ? StepKind::kItems : StepKind::kTwilight;
    o.pages = true, o.rule = SelectRule::kCount;
    s.kept = s.refined = s.policy == "quest" ? number("budget", 1024) : number("base", 0.25);
    o.twilight_p = number("p", 0.85);
  }
  s.clustered = entry->second.count("segment") > 0;
  if (!s.clustered) return s;
  o.kind = StepKind::kItems;
  o.second_order = word("estimator") == "second_order";
  o.group_mode = word("gqa") == "group_sum"     ? GroupMode::kSum
                 : word("gqa") == "group_union" ? GroupMode::kUnion
                                                : GroupMode::kPerHead;
  if (s.policy == "cluster_top_p") o.refine = o.keep = number("p", 0.95);
  if (s.policy == "double_p") {
    o.terms = true, o.outside_terms = word("outside") == "estimate";
    o.keep = number("p1", 0.95), o.refine = number("p2", 0.70);
    o.value_shift = s.clustering.value_map = word("value_side") == "shifted";
  }
  if (s.policy == "retroinfer") {
    o.terms = true, o.rule = SelectRule::kCount, o.group_mode = GroupMode::kSum;
    o.rank_without_size = true;
    // As the policy of that name: the last of the iterations is the assignment over all segments.
    s.clustering.spherical = true;
    s.clustering.iterations = std::max(1, s.clustering.iterations - 1);
    s.refined = number("exact", 0.018), s.kept = s.refined + number("estimated", 0.232);
  }
  return s;
}

std::string index_key(const Spec& spec) {
  const auto& c = spec.clustering;
  if (spec.clustered)
    return concat("clusters ", c.tokens_per_cluster, "/", c.segment, "/", c.iterations,
                  c.spherical ? " spherical" : "", c.value_map ? " with a value map" : "");
  return spec.options.kind == StepKind::kTwilight ? "nibbles"
         : spec.options.pages                     ? "pages"
                                                  : "rows";
}

}  // namespace doublep::bench
