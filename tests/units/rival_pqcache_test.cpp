#include "core/index/product_quantiser.h"
#include "tests/catch.h"
#include "tests/support/dense_limit.h"

using namespace doublep;
using namespace doublep::test;

TEST_CASE("a PQ score is the dot product with the reconstructed key") {
  for (int d : {16, 80}) {
    for (std::int64_t parts : {1, 2, 3, 7}) {
      const RandomCache data({1, 3, 150, d});
      ProductQuantiser pq(parts, 4, 3, KvDtype::kBf16);
      pq.train(data.head());
      const MatrixD scores = pq.scores(data.group());
      std::vector<float> key(d);
      double worst = 0;
      for (std::int64_t j = 0; j < 150; ++j) {
        pq.reconstruct(j, key.data());
        const HandCache remembered(d, key, key);
        for (int h = 0; h < 3; ++h)
          worst =
              std::max(worst, std::abs(scores(h, j) - static_cast<double>(brute_logit(
                                                          remembered.head(), data.group(), h, 0))));
      }
      CHECK(worst < 1e-10);
    }
  }
}

TEST_CASE("PQ by hand: few distinct parts are remembered exactly") {
  // Parts of one channel, one bit each: {0, 4} and {1, -1}. Token 3 joins and rounds to (4, 1).
  const HandCache cache(2, {0, 1, 4, -1, 4, 1, 3, 0.5f}, std::vector<float>(8, 1.0f));
  ProductQuantiser pq(2, 1, 5, KvDtype::kBf16);
  pq.train(cache.first(3));
  pq.extend(cache.head());
  const float expected[4][2] = {{0, 1}, {4, -1}, {4, 1}, {4, 1}};
  for (int j = 0; j < 4; ++j) {
    float key[2];
    pq.reconstruct(j, key);
    CHECK(key[0] == expected[j][0]);
    CHECK(key[1] == expected[j][1]);
  }
  CHECK(pq.code_bytes() == 4 * 2 / 8.0);
  CHECK(pq.centroid_bytes() == 4 * 2.0);

  const std::vector<float> query = {1, 2};
  const Given given = {{"budget", 1.0},
                       {"bits", std::int64_t{1}},
                       {"sink", std::int64_t{0}},
                       {"window", std::int64_t{0}}};
  CHECK(HeadPolicy("pqcache", given, cache.first(3))
            .select({query.data(), 1, 2, 1, 0})
            .heads[0]
            .tokens == std::vector<std::int32_t>{2});
}

TEST_CASE("PQ with a centroid per key is exact, and more bits are never further off") {
  const RandomCache data({1, 2, 60, 16});
  const auto error = [&](int bits) {
    ProductQuantiser pq(2, bits, 8, KvDtype::kBf16);
    pq.train(data.head());
    const MatrixD scores = pq.scores(data.group());
    double sum = 0;
    for (int h = 0; h < 2; ++h)
      for (std::int64_t j = 0; j < 60; ++j)
        sum += std::abs(scores(h, j) -
                        static_cast<double>(brute_logit(data.head(), data.group(), h, j)));
    return sum / 120;
  };
  CHECK(error(6) < 1e-6);  // 64 centroids for 60 keys
  CHECK(error(4) < error(1));
}

TEST_CASE("PQCache with the budget of all is dense; the default is a tenth") {
  const RandomCache data({2, 4, 900, 32});
  CHECK(distance_to_dense("pqcache", {{"budget", 900.0}}, data) < 1e-5);
  const auto out = HeadPolicy("pqcache", {}, data.head()).select(data.group());
  for (const Selection& head : out.heads) CHECK(head.tokens.size() == 90);
  CHECK(out.cost[0][Stage::kEstimate].bytes == (64 * 32 * 2 + 900 * 2 * 6 / 8) / 4.0);
}
