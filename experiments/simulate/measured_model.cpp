#include "experiments/simulate/inputs.h"

namespace doublep::sim {
namespace {

// Items of a list that may be empty.
std::vector<Yaml> items_of(const Yaml& root, const char* key) {
  const Yaml list = root.at(key);
  if (!list.is_list()) list.fail("expected a list");
  return list.node().size() == 0 ? std::vector<Yaml>{} : list.items();
}

double seconds(const Yaml& node, const char* key) {
  const double us = node.at(key).real();
  if (!(us > 0)) node.at(key).fail("expected a time above 0");
  return 1e-6 * us;
}

MeasuredProducts read_products(const Yaml& node) {
  node.only({"batch", "without_attention_us", "qkv_us", "o_us", "gate_up_us", "down_us", "head_us",
             "small_us"});
  MeasuredProducts p;
  p.batch = static_cast<int>(node.at("batch").integer(1, 1e6));
  p.seconds = seconds(node, "without_attention_us");
  p.qkv = seconds(node, "qkv_us"), p.o = seconds(node, "o_us");
  p.gate_up = seconds(node, "gate_up_us"), p.down = seconds(node, "down_us");
  p.head = seconds(node, "head_us"), p.small = seconds(node, "small_us");
  return p;
}

MeasuredStep read_step(const Yaml& node, const MeasuredPoint& shape) {
  node.only({"label",          "policy",       "parameters",
             "search",         "ranks_groups", "dense",
             "select_items",   "bytes",        "estimate_bytes",
             "estimate_flops", "select_bytes", "select_flops",
             "attend_bytes",   "attend_flops", "late_estimate_bytes",
             "exact_share",    "union_share",  "terms_share",
             "build_ms",       "build_flops",  "build_bytes",
             "context",        "batch",        "distinct",
             "step_us",        "p95_us",       "without_attention_us",
             "error_mean",     "error_p95",    "error_max",
             "kv_dtype"});
  MeasuredStep step;
  step.attention = read_bench_work(node, shape);
  step.distinct = static_cast<int>(node.at("distinct").integer(1, 1e6));
  step.output_error = node.real("error_mean", -1);
  return step;
}

Yaml load(const std::string& path) {
  Yaml root = Yaml::load(path);
  if (!root.is_map() || root.text("format", "") != "doublep-e2e")
    root.fail("expected a file of doublep_e2e, whose format is 'doublep-e2e'");
  if (root.at("version").integer() != 3) root.at("version").fail("expected version 3");
  return root;
}

}  // namespace

MeasuredModel load_measured_model(const std::string& path) {
  const Yaml root = load(path);
  MeasuredModel m;
  m.path = path, m.device = root.at("device").text(), m.model = root.at("model").text();
  m.caches = root.text("caches", "");
  m.layers = static_cast<int>(root.at("layers").integer(1, 1e4));
  for (const Yaml& item : items_of(root, "products")) m.products.push_back(read_products(item));
  for (const Yaml& item : items_of(root, "prefill")) {
    item.only({"rows", "layer_us", "flops"});
    m.prefill.push_back(
        {item.at("rows").integer(1), seconds(item, "layer_us"), item.at("flops").real(1)});
  }
  const MeasuredPoint shape = read_bench_shape(root);
  for (const Yaml& item : root.at("points").items())
    if (!is_packed(item)) m.steps.push_back(read_step(item, shape));
  if (m.products.empty())
    root.at("products")
        .fail("expected the products of at least one batch; they are measured first");
  return m;
}

void check_shape(const std::string& path, const Model& model) {
  if (model.experts || model.latent || model.weights.packed())
    fail_input(
        path, ": model: '", model.name,
        "' has experts, a latent cache or packed weights, which doublep_e2e does not measure; "
        "calibrate on a plain model");
  const Yaml root = load(path);
  const auto same = [&](const char* key, std::int64_t wanted) {
    if (root.at(key).integer() != wanted)
      root.at(key).fail(concat(model.name, " has ", wanted, "; measure that model"));
  };
  same("query_heads", model.query_heads), same("kv_heads", model.kv_heads);
  same("head_dim", model.head_dim), same("hidden", model.hidden), same("ffn", model.ffn);
  same("vocabulary", model.vocabulary);
}

}  // namespace doublep::sim
