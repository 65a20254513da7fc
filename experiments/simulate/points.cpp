#include "experiments/simulate/points.h"

#include <cmath>

#include "core/base/error.h"
#include "core/base/text.h"
#include "experiments/config/sweep.h"
#include "experiments/config/values.h"
#include "experiments/simulate/inputs.h"

namespace doublep::sim {

std::vector<double> read_numbers(const Yaml& node, double low, double high) {
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

std::vector<std::int64_t> read_integers(const Yaml& node, double low, double high) {
  std::vector<std::int64_t> integers;
  for (double x : read_numbers(node, low, high)) {
    if (x != std::floor(x)) node.fail("expected integers, not " + shortest_text(x));
    integers.push_back(static_cast<std::int64_t>(x));
  }
  return integers;
}

namespace {

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

}  // namespace

void expand_setting(const Yaml& node, std::vector<DecodePoint>& points) {
  expand_texts(node, "kv_place", points, [](DecodePoint& p, const Yaml& value) {
    p.place = read_place(value, value.text());
  });
  bool integers = false;
  expand_texts(node, "kv_dtype", points, [&](DecodePoint& p, const Yaml& value) {
    p.kv.format = read_format(value);
    integers |= p.kv.integer();
  });
  if (node.has("kv_group") && !integers)
    node.at("kv_group")
        .fail("only int8 and int4 caches have groups; set kv_dtype, or leave it out");
  expand_integers(node, "kv_group", 1, 1e6, points,
                  [](DecodePoint& p, std::int64_t x) { p.kv.group = static_cast<int>(x); });
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

std::vector<DecodePoint> read_points(const Yaml& node, const std::string& context_key) {
  std::vector<DecodePoint> points = {{}};
  expand_setting(node, points);
  expand_integers(node, "batch", 1, 1e6, points,
                  [](DecodePoint& p, std::int64_t x) { p.batch = static_cast<int>(x); });
  if (context_key.empty()) return points;
  node.at(context_key);
  expand_integers(node, context_key.c_str(), 1, 1e12, points,
                  [](DecodePoint& p, std::int64_t x) { p.context = x; });
  return points;
}

void refuse_too_many(const Yaml& node, double points) {
  if (points > kMostRuns)
    node.fail(concat("comes to ", points, " points, more than ", kMostRuns,
                     "; shorten the lists, or say --yes if you mean it"));
}

double combinations(const Yaml& map) {
  double count = 1;
  for (const std::string& key : map.keys())
    count *= static_cast<double>(expand_values(map.at(key)).size());
  return count;
}

}  // namespace doublep::sim
