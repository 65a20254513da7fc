#include "core/index/kmeans.h"
#include "core/index/product_quantiser.h"
#include "tests/catch.h"
#include "tests/support/dense_limit.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// The keys as they are remembered, float32 [tokens, d]: scored by the unit vectors.
MatrixF remembered_keys(const ProductQuantiser& pq, int d) {
  const MatrixF units = MatrixF::Identity(d, d);
  return pq.scores({units.data(), d, d, 1, 0}).cast<float>().transpose();
}

}  // namespace

TEST_CASE("a PQ score is the dot product with the reconstructed key") {
  for (int d : {16, 80}) {
    for (std::int64_t parts : {1, 2, 3, 7}) {
      const RandomCache data({1, 3, 150, d});
      ProductQuantiser pq(parts, 4, 3, KvDtype::kBf16);
      pq.train(data.head());
      const MatrixD scores = pq.scores(data.group());
      const MatrixF keys = remembered_keys(pq, d);
      double worst = 0;
      for (std::int64_t j = 0; j < 150; ++j) {
        const std::vector<float> key(keys.row(j).data(), keys.row(j).data() + d);
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
  const MatrixF keys = remembered_keys(pq, 2);
  for (int j = 0; j < 4; ++j)
    for (int i = 0; i < 2; ++i) CHECK(keys(j, i) == expected[j][i]);
  CHECK(pq.code_bytes() == 4 * 2 / 8.0);
  CHECK(pq.centroid_bytes() == 4 * 2.0);

  const std::vector<float> query = {1, 2};
  const Given given = {{"budget", std::int64_t{1}},
                       {"bits", std::int64_t{1}},
                       {"sink", std::int64_t{0}},
                       {"window", std::int64_t{0}}};
  CHECK(HeadPolicy("pqcache", given, cache.first(3))
            .select({query.data(), 1, 2, 1, 0})
            .heads[0]
            .tokens == std::vector<std::int32_t>{2});
}

TEST_CASE("k-means++ by hand: far points are centroids, equal ones are no second") {
  MatrixF points(6, 1);
  points << 0, 0, 0, 0, 100, -100;
  KmeansOptions options;
  options.init = KmeansOptions::Init::kPlusPlus, options.clusters = 3, options.iterations = 1;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    options.seed = seed;
    const KmeansResult found = kmeans(points, options);
    std::vector<float> places(found.centroids.data(), found.centroids.data() + 3);
    std::sort(places.begin(), places.end());
    CHECK(places == std::vector<float>{-100, 0, 100});
    CHECK(found.work.flops == 3.0 * 6 * 3 + 2.0 * 6 * 3 + 6);
    CHECK(found.work.bytes == 4.0 * 6 * 3 + 4.0 * (6 + 3));
  }
  options.clusters = 5;  // more than there are distinct points
  CHECK(kmeans(points, options).centroids.rows() == 5);
}

TEST_CASE("k-means++ draws in proportion to squared distances") {
  // After 0 comes 1 with a probability of 1/10, else 3; after 1 comes 0 with 1/5, else 3.
  MatrixF points(3, 1);
  points << 0, 1, 3;
  KmeansOptions options;
  options.init = KmeansOptions::Init::kPlusPlus, options.clusters = 2, options.iterations = 1;
  int apart = 0;
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    options.seed = seed;
    const auto parts = kmeans(points, options).assignment;
    apart += parts[0] != parts[1];  // only where these two were drawn
  }
  // (1/10 + 1/5) / 3 = 0.1, where every point is drawn first equally often.
  CHECK(std::abs(apart - 300) < 4 * std::sqrt(3000 * 0.09));
}

TEST_CASE("PQCache by hand: one selection a group, by the sum of its heads' softmax") {
  // Two parts of one channel and a code for every value: scores are the true logits. Head 0 likes
  // token 1 (softmax 0.5 at most, beside 2), head 1 token 3 alone: the sum ranks 3 first.
  const float l = std::log(2.0f);
  const HandCache cache(2, {0, 0, 3 * l, 0, 3 * l, 0, 0, 5 * l, 0, 0},
                        std::vector<float>(10, 1.0f));
  const std::vector<float> queries = {1, 0, 0, 1};
  const QueryGroup group{queries.data(), 2, 2, 1, 0};
  const auto chosen = [&](std::int64_t budget, double recent, const char* gqa) {
    const Given given = {{"budget", budget},          {"recent", recent},
                         {"gqa", std::string(gqa)},   {"sink", std::int64_t{0}},
                         {"window", std::int64_t{0}}, {"bits", std::int64_t{3}}};
    const auto out = HeadPolicy("pqcache", given, cache.head()).select(group);
    return std::pair{out.heads[0].tokens, out.heads[1].tokens};
  };
  CHECK(chosen(1, 0, "group_sum") == std::pair{Tokens{3}, Tokens{3}});
  CHECK(chosen(2, 0, "group_sum") == std::pair{Tokens{1, 3}, Tokens{1, 3}});
  CHECK(chosen(1, 0, "per_head") == std::pair{Tokens{1}, Tokens{3}});
  CHECK(chosen(2, 0.5, "group_sum") == std::pair{Tokens{3, 4}, Tokens{3, 4}});  // half: the latest
  CHECK(chosen(3, 0.5, "group_sum") == std::pair{Tokens{1, 3, 4}, Tokens{1, 3, 4}});
  CHECK(chosen(2, 1, "group_sum") == std::pair{Tokens{3, 4}, Tokens{3, 4}});
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
  CHECK(distance_to_dense("pqcache", {{"budget", std::int64_t{900}}}, data) < 1e-5);
  const auto out = HeadPolicy("pqcache", {}, data.head()).select(data.group());
  for (const Selection& head : out.heads) CHECK(head.tokens.size() == 90);
  CHECK(out.cost[0][Stage::kEstimate].bytes == (64 * 32 * 2 + 900 * 2 * 6 / 8) / 4.0);
}
