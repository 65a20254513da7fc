#include "experiments/bench/setting.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <tuple>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/policy/error_promise.h"
#include "core/trace/trace.h"

namespace doublep::bench {
namespace {

using Given = std::map<std::string, ParamValue>;

const ParamSpec* find(const PolicyInfo& policy, const std::string& name) {
  for (const ParamSpec& spec : policy.parameters)
    if (spec.name == name) return &spec;
  return nullptr;
}

// As its declaration has it, or as text: then the registry says what it expected.
ParamValue value_of(const ParamSpec& spec, const std::string& text) {
  using Type = ParamSpec::Type;
  if (spec.type == Type::kFlag && (text == "true" || text == "false")) return text == "true";
  if (spec.type == Type::kInteger || spec.type == Type::kBudget)
    if (const auto whole = parse_integer(text)) return *whole;
  if (spec.type == Type::kReal || spec.type == Type::kBudget)
    if (const auto real = parse_real(text)) return *real;
  return text;
}

std::pair<std::string, std::string> split(const std::string& text, const std::string& whole) {
  const std::size_t equal = text.find('=');
  if (equal == std::string::npos || equal == 0)
    fail_input("'", whole, "': expected parameter=value, not '", text, "'");
  return {text.substr(0, equal), text.substr(equal + 1)};
}

Setting parse(const std::string& text, const std::vector<std::string>& defaults,
              const cuda::Request& request) {
  const std::size_t colon = text.find(':');
  const PolicyInfo& policy = PolicyRegistry::instance().find(text.substr(0, colon));
  Given given;
  for (const std::string& pair : defaults) {
    const auto [name, value] = split(pair, pair);
    if (const ParamSpec* spec = find(policy, name)) given[name] = value_of(*spec, value);
  }
  std::set<std::string> seen;
  cuda::Request asked = request;
  for (std::size_t at = colon; at != std::string::npos;) {
    const std::size_t end = text.find(',', at + 1);
    const auto [name, value] =
        split(text.substr(at + 1, end == std::string::npos ? end : end - at - 1), text);
    if (!seen.insert(name).second) fail_input("'", text, "': ", name, " is there twice");
    at = end;
    if (name == "kv_dtype") {
      asked.dtype = parse_kv_dtype(value);
      if (asked.dtype != KvDtype::kBf16 && asked.dtype != KvDtype::kFp8)
        fail_input("'", text, "': kv_dtype ", value, ": expected bf16 or fp8, which are timed");
      continue;
    }
    const ParamSpec* spec = find(policy, name);
    given[name] = spec ? value_of(*spec, value) : ParamValue(value);
  }
  Parameters parameters = resolve(policy, given);
  cuda::Plan plan = cuda::plan_for(policy.name, parameters, asked);
  return {text, &policy, std::move(parameters), std::move(plan)};
}

std::string text_of(const KmeansOptions& first) {
  const std::string seed = first.seed == 0 ? "" : concat(" seed ", first.seed);
  return (first.init == KmeansOptions::Init::kRandom ? " from random tokens" : "") + seed;
}

std::string text_of(const MetricOptions& metric) {
  using Kind = MetricOptions::Kind;
  if (metric.kind == Kind::kEuclidean) return "";
  return concat(" in the metric of ", metric.queries, " queries, rho ",
                metric.kind == Kind::kAuto ? "auto" : to_text(metric.rho));
}

}  // namespace

std::vector<std::string> with_fp8(const std::vector<std::string>& texts) {
  std::vector<std::string> all;
  for (const std::string& text : texts) {
    all.push_back(text);
    const std::string name = text.substr(0, text.find(':'));
    for (const cuda::DevicePolicy& policy : cuda::device_policies())
      if (policy.name == name && policy.fp8 && text.find("kv_dtype=") == std::string::npos)
        all.push_back(text + (name == text ? ":" : ",") + "kv_dtype=fp8");
  }
  return all;
}

std::vector<Setting> parse_settings(const std::vector<std::string>& texts,
                                    const std::vector<std::string>& defaults,
                                    const cuda::Request& request) {
  const auto& all = PolicyRegistry::instance().all();
  for (const std::string& pair : defaults)
    if (const std::string name = split(pair, pair).first;
        std::none_of(all.begin(), all.end(), [&](const auto& p) { return find(p, name); }))
      fail_input("--default ", pair, ": no policy has a parameter '", name, "'");
  std::vector<Setting> settings;
  for (const std::string& text : texts) settings.push_back(parse(text, defaults, request));
  return settings;
}

cuda::Request request_of(const std::vector<std::string>& traces, int kv_heads) {
  cuda::Request request;
  request.num_kv_heads = kv_heads;
  for (const std::string& path : traces) {
    const TraceInfo info = Trace::open(path).info();
    const int heads = info.group_size() * kv_heads;
    if (request.head_dim == 0) request.head_dim = info.head_dim, request.num_query_heads = heads;
    if (info.value_dim != info.head_dim) request.value_dim = info.value_dim;
    if (request.head_dim != info.head_dim || request.num_query_heads != heads)
      fail_input(path, ": head_dim and group size must be those of the first trace");
  }
  return request;
}

void check_prompts(const std::vector<Setting>& settings, const std::vector<std::string>& traces) {
  for (const std::string& path : traces) {
    const std::int64_t count = Trace::open(path).info().prefill_queries;
    for (const Setting& s : settings) {
      const std::int64_t least =
          s.plan.by_error() ? fewest_queries(promise_options(s.parameters).alpha) : 0;
      if (count < least)
        fail_input(path, ": ", s.label, " learns from ", least,
                   " of the prompt's last queries, and the trace holds ", count,
                   "; record them, or leave the setting out");
    }
  }
}

std::string index_key(const cuda::Plan& plan) {
  const auto& c = plan.index.clustering;
  const std::string zone =
      concat(", sink ", plan.sink, ", window ", plan.window, plan.fp8 ? ", in fp8" : "");
  if (plan.clustered())
    return concat("clusters of ", c.tokens_per_cluster, "/", c.clusters, "/", c.segment, "/",
                  c.iterations, c.spherical ? " spherical" : "",
                  c.value_map ? " with a value map" : "", c.key_shape ? " with a key shape" : "",
                  text_of(plan.index.first), text_of(plan.index.metric), zone);
  if (!plan.pages()) return "rows" + zone;
  return concat(plan.twilight() ? "quantised " : "", "pages of ", plan.step.page_size, zone);
}

std::vector<std::size_t> in_order(const std::vector<Setting>& settings) {
  std::vector<std::size_t> order(settings.size());
  std::iota(order.begin(), order.end(), 0);
  const auto rank = [&](std::size_t i) {
    const Setting& s = settings[i];
    return std::make_tuple(!s.is_truth(), s.plan.clustered(), index_key(s.plan));
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return rank(a) < rank(b); });
  return order;
}

void check_rooms(const std::vector<Setting>& settings, const std::vector<std::int64_t>& contexts,
                 const Room& room, int team) {
  for (const Setting& s : settings) {
    const std::int64_t most = s.plan.ranked() ? room(s.plan.rule()) : 0;
    for (const std::int64_t context : contexts)
      if (const std::int64_t items = s.plan.items(context); s.plan.ranked() && items > most)
        fail_input("bench: ", s.label, ": ", items, " clusters of a KV head at ", context,
                   " tokens, expected at most ", most, " on this device",
                   team > 0 ? concat(" with --select-team ", team, "; raise it or") : "; raise",
                   " tokens_per_cluster, or leave the context out");
  }
}

void print_settings(const std::vector<Setting>& settings, std::ostream& out) {
  for (const Setting& s : settings)
    out << s.label << "\n  " << s.policy->name << " " << s.parameters.to_json() << "\n  "
        << index_key(s.plan) << "\n";
}

}  // namespace doublep::bench
