#include "experiments/simulate/measured.h"

#include "experiments/config/yaml.h"

namespace doublep::sim {
namespace {

MeasuredPoint read_point(const Yaml& node) {
  node.only({"device", "policy", "label", "context", "batch", "kv_heads", "group_size", "head_dim",
             "seconds", "stage_seconds", "stage_bytes", "select_items"});
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
    for (Stage stage : {Stage::kEstimate, Stage::kSelect, Stage::kAttend}) {
      const int s = static_cast<int>(stage);
      stages[s] = map.real(kStageNames[s], 0, 0);
    }
  }
  if (!(p.stage_bytes[static_cast<int>(Stage::kAttend)] > 0))
    node.fail("expected stage_bytes with the bytes that attend reads");
  p.select_items = node.real("select_items", 0, 0);
  return p;
}

}  // namespace

std::vector<MeasuredPoint> load_measured(const std::string& path) {
  const Yaml root = Yaml::load(path);
  root.only({"format", "version", "note", "points"});
  if (root.at("format").text() != "doublep-measured")
    root.at("format").fail("expected 'doublep-measured'");
  if (root.at("version").integer() != 1) root.at("version").fail("expected version 1");
  std::vector<MeasuredPoint> points;
  for (const Yaml& item : root.at("points").items()) points.push_back(read_point(item));
  return points;
}

}  // namespace doublep::sim
