#include "experiments/simulate/measured.h"

#include <algorithm>

#include "core/base/text.h"
#include "experiments/config/yaml.h"

namespace doublep::sim {
namespace {

constexpr int kEstimate = static_cast<int>(Stage::kEstimate),
              kSelect = static_cast<int>(Stage::kSelect),
              kAttend = static_cast<int>(Stage::kAttend);

MeasuredPoint read_point(const Yaml& node) {
  node.only({"device", "policy", "label", "context", "batch", "kv_heads", "group_size", "head_dim",
             "seconds", "stage_seconds", "stage_bytes", "late_estimate_bytes", "select_items",
             "search", "build_seconds", "build_flops"});
  MeasuredPoint p;
  p.device = node.text("device", "");
  p.policy = node.at("policy").text();
  p.label = node.text("label", p.policy);
  p.context = node.at("context").integer(1);
  p.batch = static_cast<int>(node.at("batch").integer(1, 1e6));
  p.kv_heads = static_cast<int>(node.integer("kv_heads", 8, 1, 1e4));
  p.group_size = static_cast<int>(node.integer("group_size", 4, 1, 1e4));
  p.head_dim = static_cast<int>(node.integer("head_dim", 128, 1, 1e4));
  p.seconds = node.at("seconds").real();
  if (!(p.seconds > 0)) node.at("seconds").fail("expected a time above 0");
  for (const char* key : {"stage_seconds", "stage_bytes"}) {
    if (!node.has(key)) continue;
    auto& stages = key == std::string("stage_bytes") ? p.stage_bytes : p.stage_seconds;
    const Yaml map = node.at(key).only({"estimate", "select", "attend"});
    for (int s : {kEstimate, kSelect, kAttend}) stages[s] = map.real(kStageNames[s], 0, 0);
  }
  if (!(p.stage_bytes[kAttend] > 0))
    node.fail("expected stage_bytes with the bytes that attend reads");
  p.select_items = node.real("select_items", 0, 0);
  p.late_estimate_bytes = node.real("late_estimate_bytes", 0, 0);
  if (p.late_estimate_bytes > p.stage_bytes[kEstimate])
    node.at("late_estimate_bytes").fail("exceeds the bytes of the estimate, of which it is a part");
  const std::string search = node.text("search", "heads");
  int kind = 0;
  while (kind < kNumSearches && search != name_of(static_cast<Search>(kind))) ++kind;
  if (kind == kNumSearches)
    node.at("search").fail("expected heads, pages, group, tokens or zone, not '" + search + "'");
  p.search = static_cast<Search>(kind);
  p.build_seconds = node.real("build_seconds", 0, 0);
  p.build_flops = node.real("build_flops", 0, 0);
  return p;
}

// Value of key=... in a policy of the bench ("double_p:p1=0.95,p2=0.7"), or the fallback.
double option(const Yaml& policy, const std::string& key, double fallback) {
  const std::string text = policy.text();
  for (const char* before : {":", ","})
    if (const auto at = text.find(before + key + "="); at != std::string::npos) {
      const auto from = at + key.size() + 2;
      const auto value = parse_real(text.substr(from, text.find(',', from) - from));
      if (!value || *value <= 0) policy.fail("expected a number above 0 after " + key + "=");
      return *value;
    }
  return fallback;
}

}  // namespace

MeasuredPoint read_bench_work(const Yaml& node, const MeasuredPoint& shape) {
  MeasuredPoint p = shape;
  p.label = node.at("policy").text();
  p.policy = p.label.substr(0, p.label.find(':'));
  p.context = node.at("context").integer(1);
  p.batch = static_cast<int>(node.at("batch").integer(1, 1e6));
  p.seconds = 1e-6 * node.at("step_us").real();
  if (!(p.seconds > 0)) node.at("step_us").fail("expected a time above 0");
  const double n = static_cast<double>(p.context), row = 2.0 * p.head_dim,
               pairs = static_cast<double>(p.batch) * p.kv_heads;
  const double per_item = option(node.at("policy"), "tokens_per_cluster", 16);
  const double items = p.policy == "dense" || p.policy == "streaming" ? 0 : n / per_item;
  const double attend =
      pairs * row *
      (2 * n * node.at("union_share").real(0, 1) + items * node.at("terms_share").real(0, 1));
  p.stage_bytes[kAttend] = std::max(attend, row);
  if (items > 0)
    p.stage_bytes[kEstimate] = std::max(0.0, node.at("bytes").real(0) - p.stage_bytes[kAttend]);
  p.select_items = items;
  if (p.policy == "twilight") {
    // Its 4-bit keys are a second estimate, which `doublep bench` times with the search. A key of
    // head_dim / 2 bytes has a scale and an offset, float32 each.
    p.late_estimate_bytes = std::max(0.0, p.stage_bytes[kEstimate] - pairs * items * 2 * row);
    p.select_items = p.late_estimate_bytes / pairs / (row / 4 + 8);
  }
  if (p.policy == "streaming") p.search = Search::kZone;
  if (p.policy == "twilight") p.search = Search::kTokens;
  if (p.policy == "quest") p.search = Search::kPages;
  if (p.policy == "retroinfer" || p.label.find("gqa=group_sum") != std::string::npos)
    p.search = Search::kGroup;
  p.build_seconds = 1e-3 * node.real("build_ms", 0, 0);
  const bool clustered = items > 0 && p.policy != "quest" && p.policy != "twilight";
  if (clustered) {  // assignment compares every key of a segment with each of its centroids
    const double segment = std::min(n, option(node.at("policy"), "segment", 8192));
    const double iterations =
        option(node.at("policy"), "iterations", p.policy == "retroinfer" ? 10 : 4);
    p.build_flops = iterations * p.kv_heads * n * (segment / per_item) * 2 * p.head_dim;
  }
  return p;
}

MeasuredPoint read_bench_shape(const Yaml& root) {
  MeasuredPoint shape;
  shape.device = root.at("device").text();
  shape.kv_heads = static_cast<int>(root.at("kv_heads").integer(1, 1e4));
  shape.head_dim = static_cast<int>(root.at("head_dim").integer(1, 1e4));
  shape.group_size = static_cast<int>(root.at("query_heads").integer(1, 1e5)) / shape.kv_heads;
  return shape;
}

namespace {

std::vector<MeasuredPoint> read_bench(const Yaml& root) {
  const MeasuredPoint shape = read_bench_shape(root);
  std::vector<MeasuredPoint> points;
  for (const Yaml& item : root.at("points").items()) {
    MeasuredPoint& p = points.emplace_back(read_bench_work(item, shape));
    const auto seconds = [&](const char* key) { return 1e-6 * std::max(0.0, item.at(key).real()); };
    p.stage_seconds[kEstimate] = seconds("estimate_us");
    p.stage_seconds[kSelect] = seconds("select_us");
    p.stage_seconds[kAttend] = seconds("attend_us");
  }
  return points;
}

}  // namespace

std::vector<MeasuredPoint> load_measured(const std::string& path) {
  const Yaml root = Yaml::load(path);
  if (!root.has("format") && root.has("read_ceiling")) return read_bench(root);
  root.only({"format", "version", "note", "points"});
  if (root.at("format").text() != "doublep-measured")
    root.at("format").fail("expected 'doublep-measured'");
  if (root.at("version").integer() != 1) root.at("version").fail("expected version 1");
  std::vector<MeasuredPoint> points;
  for (const Yaml& item : root.at("points").items()) points.push_back(read_point(item));
  return points;
}

}  // namespace doublep::sim
