#include <algorithm>

#include "core/yaml/yaml.h"
#include "experiments/simulate/inputs.h"
#include "sim/cost/roofline.h"

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
    node.at("search").fail("expected heads, pages, group, tokens, zone or ranked, not '" + search +
                           "'");
  p.search = static_cast<Search>(kind);
  p.build_seconds = node.real("build_seconds", 0, 0);
  p.build_flops = node.real("build_flops", 0, 0);
  return p;
}

SearchKind read_search(const Yaml& node) {
  const std::string text = node.text();
  for (const SearchKind kind : kSearchKinds)
    if (text == name_of(kind)) return kind;
  node.fail("expected none, pages, clusters, tokens or codes, not '" + text + "'");
}

}  // namespace

bool is_packed(const Yaml& point) { return point.text("kv_dtype", "bf16") == "fp8"; }

MeasuredPoint read_bench_work(const Yaml& node, const MeasuredPoint& shape) {
  MeasuredPoint p = shape;
  p.label = node.at("label").text();
  p.policy = node.at("policy").text();
  p.context = node.at("context").integer(1);
  p.batch = static_cast<int>(node.at("batch").integer(1, 1e6));
  p.seconds = 1e-6 * node.at("step_us").real();
  if (!(p.seconds > 0)) node.at("step_us").fail("expected a time above 0");
  p.stage_bytes[kEstimate] = node.at("estimate_bytes").real(0);
  p.stage_bytes[kAttend] = node.at("attend_bytes").real(0);
  if (!(p.stage_bytes[kAttend] > 0)) node.at("attend_bytes").fail("expected bytes above 0");
  p.late_estimate_bytes = node.at("late_estimate_bytes").real(0, p.stage_bytes[kEstimate]);
  p.select_items = node.at("select_items").real(0);
  const bool stops = node.has("parameters") && node.at("parameters").text("stop", "mass") != "mass";
  p.search = search_of(read_search(node.at("search")), node.at("ranks_groups").flag(),
                       node.at("dense").flag(), stops);
  p.build_seconds = 1e-3 * node.at("build_ms").real(0);
  p.build_flops = node.at("build_flops").real(0);
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
    if (is_packed(item)) continue;
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
  if (root.is_map() && root.text("format", "") == "doublep-bench") {
    if (root.at("version").integer() != 1) root.at("version").fail("expected version 1");
    return read_bench(root);
  }
  root.only({"format", "version", "note", "points"});
  if (root.at("format").text() != "doublep-measured")
    root.at("format").fail("expected 'doublep-bench' or 'doublep-measured'");
  if (root.at("version").integer() != 1) root.at("version").fail("expected version 1");
  std::vector<MeasuredPoint> points;
  for (const Yaml& item : root.at("points").items()) points.push_back(read_point(item));
  return points;
}

}  // namespace doublep::sim
