#include "core/index/quantiser.h"
#include "tests/catch.h"
#include "tests/support/dense_limit.h"

using namespace doublep;
using namespace doublep::test;

TEST_CASE("4-bit keys are within half a step, and the extremes are kept") {
  const RandomCache data({1, 1, 100, 80});
  for (int bits : {1, 4, 8}) {
    QuantisedKeys keys(bits, KvDtype::kBf16);
    keys.extend(data.head());
    std::vector<float> key(80);
    double worst = 0;
    bool in_range = true;
    for (std::int64_t j = 0; j < 100; ++j) {
      keys.decode(j, key.data());
      for (int i = 0; i < 80; ++i) {
        worst = std::max(
            worst, std::abs(static_cast<double>(key[i]) - data.head().key(j)[i]) / keys.step(j));
        in_range &= keys.code(j, i) < (1 << bits);
      }
    }
    CHECK(worst <= 0.5 + 1e-4);  // 1e-4 of a step: float32
    CHECK(worst > 0.4);
    CHECK(in_range);
    CHECK(keys.bytes_per_token() == bits * 10 + 4);
  }
}

TEST_CASE("quantiser by hand") {
  const HandCache cache(4, {-3, 12, 0, 4.4f, 7, 7, 7, 7}, std::vector<float>(8, 1.0f));
  QuantisedKeys keys(4, KvDtype::kBf16);
  keys.extend(cache.first(1));
  keys.extend(cache.head());
  CHECK(keys.step(0) == 1.0f);
  CHECK(keys.code(0, 0) == 0);
  CHECK(keys.code(0, 1) == 15);
  CHECK(keys.code(0, 3) == 7);
  float key[4];
  keys.decode(0, key);
  CHECK(key[3] == 4.0f);
  keys.decode(1, key);  // a constant key has no step and is exact
  CHECK(keys.step(1) == 0);
  CHECK(key[2] == 7.0f);
}

TEST_CASE("Twilight by hand: the smallest set of the base's tokens with mass p") {
  // Logits log 8, log 4, log 2, log 1 and a token that the base leaves out; all are exact in 4 bits
  // since each key's other channel is 0.
  const float l = std::log(2.0f);
  const HandCache cache(2, {2 * l, 0, 0, 0, 3 * l, 0, l, 0, -9, 0}, std::vector<float>(10, 1.0f));
  const std::vector<float> query = {1, 0};
  const QueryGroup group{query.data(), 1, 2, 1, 0};
  const auto kept = [&](double p) {
    const Given given = {{"p", p},
                         {"base_budget", std::int64_t{4}},
                         {"page_size", std::int64_t{1}},
                         {"sink", std::int64_t{0}},
                         {"window", std::int64_t{0}}};
    return HeadPolicy("twilight", given, cache.head()).select(group).heads[0].tokens;
  };
  CHECK(kept(0.5) == Tokens{2});        // 8 of 15
  CHECK(kept(0.6) == Tokens{0, 2});     // 12 of 15
  CHECK(kept(0.9) == Tokens{0, 2, 3});  // 14 of 15
  CHECK(kept(1) == Tokens{0, 1, 2, 3});
}

TEST_CASE("Twilight with p = 1 over a base of everything is dense") {
  const RandomCache data({2, 4, 205, 32});
  for (const char* base : {"quest", "double_sparsity"})
    CHECK(distance_to_dense(
              "twilight",
              {{"p", 1.0}, {"base", std::string(base)}, {"base_budget", std::int64_t{1000000}}},
              data) < 1e-5);
}

TEST_CASE("Twilight keeps a part of what its base proposes") {
  const RandomCache data({1, 4, 400, 32});
  const auto base = HeadPolicy("quest", {{"budget", 0.25}}, data.head()).select(data.group());
  const auto kept = HeadPolicy("twilight", {}, data.head()).select(data.group());
  std::size_t proposed = 0, selected = 0;
  for (int h = 0; h < 4; ++h) {
    const Tokens &all = base.heads[h].tokens, &some = kept.heads[h].tokens;
    CHECK(std::includes(all.begin(), all.end(), some.begin(), some.end()));
    CHECK(kept.heads[h].target_p == 0.85);
    CHECK(kept.cost[h][Stage::kEstimate].bytes > base.cost[h][Stage::kEstimate].bytes);
    proposed += all.size(), selected += some.size();
  }
  CHECK(selected > 0);
  CHECK(selected < proposed);
}
