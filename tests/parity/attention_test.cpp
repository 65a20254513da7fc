// First check: given the selection that the GPU reports, its attention is the reference's, tightly.
#include "tests/parity/support.h"

namespace doublep::test {
namespace {

const std::vector<Setup>& setups() {
  static const std::vector<Setup> list = {
      {"dense", {}},
      {"streaming", {{"sink", std::int64_t{4}}, {"window", std::int64_t{64}}}},
      {"cluster_top_k", {{"k", std::int64_t{7}}}},
      {"cluster_top_k", {{"k", std::int64_t{1000000}}}},  // more than there are
      {"cluster_top_p", {{"p", 0.9}}},
      {"cluster_top_p",
       {{"p", 0.9}, {"gqa", std::string("group_union")}, {"mass_scope", std::string("all")}}},
      {"double_p", {}},
      {"double_p", {{"p1", 1.0}, {"p2", 1.0}}},
      {"double_p",
       {{"estimator", std::string("second_order")},
        {"outside", std::string("estimate")},
        {"p2", 0.3}}},
      {"double_p", {{"gqa", std::string("group_sum")}}},
      {"double_p", {{"mass_scope", std::string("all")}, {"segment", std::int64_t{256}}}},
      {"quest", {{"budget", std::int64_t{200}}}},
      {"quest", {{"budget", std::int64_t{1000000}}}},  // every page
      {"quest", {{"budget", 0.3}, {"sink", std::int64_t{20}}, {"window", std::int64_t{41}}}},
      {"quest", {{"budget", std::int64_t{100}}, {"page_size", std::int64_t{24}}}},
      {"quest",
       {{"budget", std::int64_t{0}},
        {"sink", std::int64_t{0}},
        {"window", std::int64_t{0}}}},  // none
      {"twilight", {}},
      {"twilight",
       {{"p", 1.0}, {"base_budget", std::int64_t{1000000}}, {"page_size", std::int64_t{8}}}},
      {"retroinfer", {}},
      {"retroinfer",
       {{"retrieval", 0.1},
        {"estimation", 0.9},
        {"segment", std::int64_t{256}},
        {"estimator", std::string("second_order")}}},
      // Float32 keeps its tolerance: a shift adds sums of d products to those there are. In 16 bits
      // the map is rounded as the mean values are.
      {"double_p", {{"value_side", std::string("shifted")}, {"p2", 0.3}}},
      {"double_p",
       {{"value_side", std::string("shifted")},
        {"estimator", std::string("second_order")},
        {"outside", std::string("estimate")},
        {"p2", 0.3}}},
      {"double_p",
       {{"value_side", std::string("shifted")},
        {"gqa", std::string("group_sum")},
        {"segment", std::int64_t{256}},
        {"mass_scope", std::string("all")}}},
      {"double_p",
       {{"value_side", std::string("shifted")},
        {"estimator", std::string("second_order")},
        {"gqa", std::string("group_sum")},
        {"outside", std::string("estimate")},
        {"p2", 0.5}}},
  };
  return list;
}
std::vector<Setup> setups_of(const std::string& policy) {
  std::vector<Setup> mine;
  for (const Setup& s : setups())
    if (s.policy == policy) mine.push_back(s);
  return mine;
}

void check_attention(const Case& c, const Setup& setup) {
  const auto decoder = on_gpu(setup, c.dtype);
  decoder->prefill(c.cache());
  const StepResult result = decoder->step(c.block(), Detail::kSelections);
  const Attended same = attend_same(c, result);
  bool terms = false;
  for (const Selection& s : result.selections) terms |= !s.terms.empty();
  const double allowed = terms ? tolerance(c.dtype).terms : tolerance(c.dtype).exact;
  INFO(setup.policy << ", " << c.text());
  for (std::int64_t h = 0; h < c.block().num_query_heads; ++h) {
    INFO("head " << h);
    const auto& tokens = result.selections[h].tokens;
    CHECK(std::adjacent_find(tokens.begin(), tokens.end()) == tokens.end());  // none twice
    CHECK(distance(result.output.data() + h * c.head_dim, same.output.data() + h * c.head_dim,
                   c.head_dim) < allowed);
    if (std::isinf(same.log_sum_exp[h]))
      CHECK(result.log_sum_exp[h] == same.log_sum_exp[h]);
    else
      CHECK(std::abs(result.log_sum_exp[h] - same.log_sum_exp[h]) <
            2e-5 * std::max(1.0, std::abs(same.log_sum_exp[h])));
  }
}

}  // namespace

TEST_CASE("attention over the GPU's selection equals the reference's", "[parity]") {
  if (without_device()) return;
  for (const KvDtype dtype : {KvDtype::kFp32, KvDtype::kFp16, KvDtype::kBf16})
    for (const Kind kind :
         {Kind::kPlain, Kind::kEqualKeys, Kind::kDominantKey, Kind::kHugeValues}) {
      if (kind == Kind::kHugeValues && dtype == KvDtype::kFp16) continue;  // beyond its range
      Case c;
      c.kind = kind, c.dtype = dtype;
      c.fill();
      for (const Setup& setup : setups()) check_attention(c, setup);
    }
}

TEST_CASE("every head dimension and group size", "[parity]") {
  if (without_device()) return;
  for (const int d : {64, 80, 128, 256})
    for (const int group : {1, 3, 4, 8})
      for (const KvDtype dtype : {KvDtype::kFp32, KvDtype::kBf16}) {
        Case c;
        c.head_dim = d, c.group = group, c.dtype = dtype;
        c.fill();
        for (const int i : {0, 6, 8, 9}) check_attention(c, setups()[i]);
        for (const char* policy : {"quest", "twilight", "retroinfer"})
          check_attention(c, setups_of(policy).front());
        check_attention(c, setups_of("double_p").back());  // shifted
      }
}

TEST_CASE("short caches: one key, fewer than sink and window, one more", "[parity][quick]") {
  if (without_device()) return;
  for (const std::int64_t length : {1, 2, 17, 60, 68, 69, 70, 100}) {
    Case c;
    c.length = length, c.capacity = length + 3;
    c.fill();
    for (const Setup& setup : setups()) check_attention(c, setup);
  }
}

TEST_CASE("generated tokens join, and the index is rebuilt", "[parity][quick]") {
  if (without_device()) return;
  Case c;
  c.length = 300, c.capacity = 420;
  c.fill();
  for (const Setup& setup :
       {Setup{"dense", {}}, Setup{"streaming", {}}, Setup{"double_p", {}},
        Setup{"double_p",
              {{"recluster_every", std::int64_t{40}}, {"mass_scope", std::string("all")}}},
        Setup{"double_p",
              {{"recluster_every", std::int64_t{40}}, {"value_side", std::string("shifted")}}},
        best({{"recluster_every", std::int64_t{40}},
              {"metric_source", std::string("steps")},
              {"metric_queries", std::int64_t{16}}}),
        Setup{"quest", {{"budget", std::int64_t{100}}}},
        Setup{"quest", {{"budget", 0.5}, {"page_size", std::int64_t{40}}}},
        Setup{"twilight", {{"base_budget", 0.6}}},
        Setup{"retroinfer", {{"retrieval", 0.2}, {"recluster_every", std::int64_t{40}}}}}) {
    const auto decoder = on_gpu(setup, c.dtype);
    c.length = 300;
    decoder->prefill(c.cache());
    for (c.length = 301; c.length <= 400; c.length += 11) {
      decoder->append(c.cache());
      const StepResult result = decoder->step(c.block(), Detail::kSelections);
      const Attended same = attend_same(c, result);
      INFO(setup.policy << " at " << c.length);
      CHECK(distance(result.output.data(), same.output.data(), result.output.size()) <
            tolerance(c.dtype).terms);
      for (const Selection& s : result.selections) {
        CHECK(std::adjacent_find(s.tokens.begin(), s.tokens.end()) == s.tokens.end());
        // The newest token is always among them, but where only its mass counts.
        if (setup.policy != "twilight") CHECK(s.tokens.back() == c.length - 1);
      }
    }
  }
}

TEST_CASE("anomalies stand in the same places", "[parity]") {
  if (without_device()) return;
  for (const float anomaly : {NAN, INFINITY})
    for (const bool in_query : {true, false}) {
      Case c;
      c.kind = Kind::kPlain;
      c.fill();
      // A query of head 1; or a value of the last token, which every policy attends.
      if (in_query)
        c.queries[1 * c.head_dim + 5] = anomaly;
      else
        c.values[(c.capacity * 0 + c.length - 1) * c.head_dim + 9] = anomaly;
      for (const Setup& setup : {Setup{"dense", {}}, Setup{"streaming", {}}}) {
        const auto decoder = on_gpu(setup, c.dtype);
        decoder->prefill(c.cache());
        const StepResult result = decoder->step(c.block(), Detail::kSelections);
        const Attended same = attend_same(c, result);
        INFO(setup.policy << ", " << anomaly << (in_query ? " in a query" : " in a value"));
        for (std::size_t i = 0; i < same.output.size(); ++i)
          if (std::isfinite(result.output[i]) != std::isfinite(same.output[i])) {
            INFO("element " << i << ": " << result.output[i] << " against " << same.output[i]);
            CHECK(false);
            break;
          }
      }
    }
}

}  // namespace doublep::test
