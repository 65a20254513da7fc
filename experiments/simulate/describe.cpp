#include "core/base/error.h"
#include "experiments/config/values.h"
#include "experiments/simulate/inputs.h"

namespace doublep::sim {
namespace {

constexpr double kGiga = 1e9, kKilo = 1e3, kTera = 1e12, kMicro = 1e-6;

// {value: 3350, source: datasheet}, times the unit that the key names.
Figure read_figure(const Yaml& node, const Hardware& hardware, double unit, bool positive = true) {
  node.only({"value", "source"});
  Figure figure;
  figure.value = node.at("value").real(0) * unit;
  if (positive && figure.value <= 0) node.at("value").fail("expected a number above 0");
  const Yaml source = node.at("source");
  figure.source = source.text();
  if (!hardware.sources.count(figure.source))
    source.fail("no source '" + figure.source + "' under `sources`; say there where it stands");
  return figure;
}

}  // namespace

Hardware load_hardware(const std::string& path) {
  const Yaml root = Yaml::load(path);
  root.only({"name", "title", "memory_capacity_gb", "memory_bandwidth_gbs",
             "achieved_bandwidth_gbs", "processors", "shared_memory_kb", "launch_overhead_us",
             "host_link_gbs", "interconnect_gbs", "interconnect_latency_us", "compute_tflops",
             "sources"});
  Hardware h;
  h.name = file_name_part(root.at("name")), h.title = root.at("title").text();
  const Yaml sources = root.at("sources");
  for (const std::string& key : sources.keys()) h.sources[key] = sources.at(key).text();
  const auto figure = [&](const char* key, double unit, bool positive = true) {
    return read_figure(root.at(key), h, unit, positive);
  };
  h.memory_capacity = figure("memory_capacity_gb", kGiga);
  h.memory_bandwidth = figure("memory_bandwidth_gbs", kGiga);
  if (root.has("achieved_bandwidth_gbs")) {
    h.achieved_bandwidth = figure("achieved_bandwidth_gbs", kGiga);
    if (h.achieved_bandwidth->value > h.memory_bandwidth.value)
      root.at("achieved_bandwidth_gbs").fail("exceeds the data sheet's bandwidth; check the unit");
  }
  h.processors = figure("processors", 1);
  if (root.has("shared_memory_kb")) h.shared_memory = figure("shared_memory_kb", kKilo);
  h.launch_overhead = figure("launch_overhead_us", kMicro, false);
  h.host_link_bandwidth = figure("host_link_gbs", kGiga);
  h.interconnect_bandwidth = figure("interconnect_gbs", kGiga, false);
  h.interconnect_latency = figure("interconnect_latency_us", kMicro, false);
  const Yaml compute = root.at("compute_tflops").only({"bf16", "fp16", "fp8", "fp32"});
  for (const std::string& type : compute.keys())
    h.compute[type] = read_figure(compute.at(type), h, kTera);
  if (!h.compute.count("fp32")) compute.fail("expected at least a rate for fp32");
  return h;
}

Format read_format(const Yaml& value) {
  try {
    return parse_format(value.text());
  } catch (const InputError& e) {
    value.fail(e.what());
  }
}

namespace {

Experts read_experts(const Yaml& node, const Model& m) {
  node.only({"count", "active", "ffn", "shared_ffn", "dense_layers"});
  Experts e;
  e.count = static_cast<int>(node.at("count").integer(1, 1e6));
  e.active = static_cast<int>(node.at("active").integer(1, 1e6));
  e.ffn = node.at("ffn").integer(1, 1e9);
  e.shared_ffn = node.integer("shared_ffn", 0, 0, 1e9);
  e.dense_layers = static_cast<int>(node.integer("dense_layers", 0, 0, 1e9));
  if (e.active > e.count)
    node.at("active").fail(
        concat("a token cannot take ", e.active, " of ", e.count, " experts; see `count`"));
  if (e.dense_layers >= m.layers)
    node.at("dense_layers")
        .fail(concat("leaves none of the ", m.layers, " layers to the experts; take fewer"));
  return e;
}

Latent read_latent(const Yaml& node) {
  node.only({"rank", "rope", "nope", "value", "query_rank"});
  const auto whole = [&](const char* key) {
    return static_cast<int>(node.at(key).integer(1, 1e6));
  };
  return {whole("rank"), whole("rope"), whole("nope"), whole("value"),
          static_cast<int>(node.integer("query_rank", 0, 0, 1e6))};
}

}  // namespace

Model load_model(const std::string& path) {
  const Yaml root = Yaml::load(path);
  root.only({"name", "title", "source", "layers", "query_heads", "kv_heads", "head_dim", "hidden",
             "ffn", "vocabulary", "tied", "weights", "weight_group", "experts", "latent"});
  Model m;
  m.name = file_name_part(root.at("name")), m.title = root.at("title").text();
  m.source = root.at("source").text();
  const auto whole = [&](const char* key) { return root.at(key).integer(1, 1e9); };
  m.layers = static_cast<int>(whole("layers"));
  m.query_heads = static_cast<int>(whole("query_heads"));
  if (root.has("latent")) {
    for (const char* key : {"kv_heads", "head_dim"})
      if (root.has(key))
        root.at(key).fail("does not go with `latent`, whose widths stand there; leave it out");
    m.latent = read_latent(root.at("latent"));
    m.kv_heads = 1;
  } else {
    m.kv_heads = static_cast<int>(whole("kv_heads"));
    m.head_dim = static_cast<int>(whole("head_dim"));
  }
  m.hidden = whole("hidden"), m.vocabulary = whole("vocabulary");
  if (root.has("experts")) m.experts = read_experts(root.at("experts"), m);
  if (!m.experts || m.experts->dense_layers > 0)
    m.ffn = whole("ffn");
  else if (root.has("ffn"))
    root.at("ffn").fail("no layer has such an MLP; leave it out, or say `experts.dense_layers`");
  m.tied = root.at("tied").flag();
  m.weights = {read_format(root.at("weights")),
               static_cast<int>(root.integer("weight_group", kWeightGroup, 1, 1e6))};
  if (root.has("weight_group") && !m.weights.integer())
    root.at("weight_group").fail("only int8 and int4 weights have groups; leave it out");
  if (m.query_heads % m.kv_heads != 0)
    root.at("query_heads")
        .fail(concat(m.query_heads, " is no multiple of kv_heads (", m.kv_heads, ")"));
  return m;
}

Scale read_scale(const Yaml& node) {
  node.only({"name", "memory_bandwidth", "compute", "host_link", "interconnect", "memory_capacity",
             "launch_overhead"});
  Scale s;
  s.name = file_name_part(node.at("name"));
  s.memory_bandwidth = node.real("memory_bandwidth", 1, 1e-6);
  s.compute = node.real("compute", 1, 1e-6);
  s.host_link = node.real("host_link", 1, 1e-6);
  s.interconnect = node.real("interconnect", 1, 1e-6);
  s.memory_capacity = node.real("memory_capacity", 1, 1e-6);
  s.launch_overhead = node.real("launch_overhead", 1, 0);
  return s;
}

}  // namespace doublep::sim
