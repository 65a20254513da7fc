#include "core/cache/logits.h"
#include "core/index/projected_keys.h"
#include "tests/catch.h"
#include "tests/support/dense_limit.h"

using namespace doublep;
using namespace doublep::test;

TEST_CASE("principal components by hand: a line, and what is across it") {
  MatrixF points(4, 2);  // along (3, 4) / 5 around (10, 0), with a little across
  points << 10 + 3, 4, 10 - 3, -4, 10 + 0.4f, -0.3f, 10 - 0.4f, 0.3f;
  const MatrixD basis = principal_components(points, 2);
  CHECK(std::abs(basis(0, 0) * 0.6 + basis(1, 0) * 0.8) == Approx(1).epsilon(1e-6));
  CHECK(std::abs(basis(0, 1) * 0.8 - basis(1, 1) * 0.6) == Approx(1).epsilon(1e-6));
  CHECK(principal_components(points, 1).cols() == 1);
  CHECK(principal_components(points, 9).cols() == 2);
}

TEST_CASE("components are orthonormal, also of one key and of equal keys") {
  const RandomCache data({1, 1, 50, 24});
  for (std::int64_t n : {1, 2, 50}) {
    const MatrixD b = principal_components(ConstMapF(data.keys.data(), n, 24), 24);
    CHECK((b.transpose() * b - MatrixD::Identity(24, 24)).cwiseAbs().maxCoeff() < 1e-12);
  }
  const MatrixD b = principal_components(MatrixF::Constant(7, 5, 3.0f), 5);
  CHECK((b.transpose() * b - MatrixD::Identity(5, 5)).cwiseAbs().maxCoeff() < 1e-12);
}

TEST_CASE("Loki's projection is exact at full rank, and worse below") {
  const RandomCache data({1, 4, 120, 32});
  const MatrixD logits = exact_logits(data.group(), data.head());
  const auto error = [&](int rank) {
    ProjectedKeys keys(KvDtype::kBf16);
    keys.set_basis(principal_components(ConstMapF(data.keys.data(), 120, 32), rank));
    keys.extend(data.head());
    return (keys.scores(data.group()) - logits).cwiseAbs().maxCoeff();
  };
  CHECK(error(32) < 1e-5);
  CHECK(error(4) > 1e-2);
}

TEST_CASE("Loki at full rank chooses the tokens of highest true weight") {
  const RandomCache data({1, 2, 200, 16});
  const auto loki =
      HeadPolicy("loki", {{"rank", std::int64_t{16}}, {"budget", std::int64_t{40}}}, data.head())
          .select(data.group());
  const Given same = {
      {"budget", std::int64_t{40}}, {"sink", std::int64_t{0}}, {"window", std::int64_t{0}}};
  const auto oracle = HeadPolicy("oracle_top_k", same, data.head()).select(data.group());
  for (int h = 0; h < 2; ++h) CHECK(loki.heads[h].tokens == oracle.heads[h].tokens);
}

TEST_CASE("Loki by hand: one component tells the keys apart") {
  // Keys differ along the first axis only; the third is highest against the query, then the first.
  const HandCache cache(2, {1, 5, -1, 5, 2, 5, 0, 5}, std::vector<float>(8, 1.0f));
  const std::vector<float> query = {2, -9};
  const QueryGroup group{query.data(), 1, 2, 1, 0};
  const Given given = {{"rank", std::int64_t{1}}, {"budget", std::int64_t{2}}};
  CHECK(HeadPolicy("loki", given, cache.head()).select(group).heads[0].tokens ==
        std::vector<std::int32_t>{0, 2});
}

TEST_CASE("Loki with the budget of all is dense; its cost is that of the labels") {
  const RandomCache data({2, 4, 90, 64});
  CHECK(distance_to_dense("loki", {{"budget", std::int64_t{90}}}, data) < 1e-5);
  HeadPolicy loki("loki", {}, data.head());
  const auto out = loki.select(data.group());
  CHECK(out.cost[0][Stage::kEstimate].bytes == 90 * 32 * 2 / 4.0);
  CHECK(out.cost[0][Stage::kEstimate].flops == 2 * 64 * 32 + 2 * 90 * 32.0);
  CHECK(out.heads[0].tokens.size() == 22);  // 0.25 of 90
  CHECK(std::isnan(out.heads[0].target_p));
}
