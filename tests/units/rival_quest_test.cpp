#include "core/cache/logits.h"
#include "core/index/page_index.h"
#include "tests/catch.h"
#include "tests/support/dense_limit.h"

using namespace doublep;
using namespace doublep::test;

namespace {
Given plain(std::int64_t budget, std::int64_t page) {
  return {{"budget", budget},
          {"page_size", page},
          {"sink", std::int64_t{0}},
          {"window", std::int64_t{0}}};
}
}  // namespace

TEST_CASE("Quest by hand: pages of two, bounds from signs of the query") {
  // Pages {0,1}, {2,3}, {4}; q = (1, -1). Minima and maxima: (0,0)-(2,3), (1,-2)-(1,-1),
  // (0,1)-(0,1).
  const HandCache cache(2, {0, 3, 2, 0, 1, -1, 1, -2, 0, 1}, std::vector<float>(10, 1.0f));
  const std::vector<float> query = {1, -1};
  const QueryGroup group{query.data(), 1, 2, 0.5, 0};
  PageIndex pages(2, KvDtype::kBf16);
  pages.extend(cache.head());
  REQUIRE(pages.num_pages() == 3);
  CHECK(pages.end(2) == 5);
  const MatrixD bounds = pages.upper_bounds(group);
  CHECK(bounds(0, 0) == 0.5 * (2 - 0));  // no token of the page reaches it
  CHECK(bounds(0, 1) == 0.5 * (1 + 2));
  CHECK(bounds(0, 2) == 0.5 * (0 - 1));

  CHECK(HeadPolicy("quest", plain(2, 2), cache.head()).select(group).heads[0].tokens ==
        Tokens{2, 3});
  CHECK(HeadPolicy("quest", plain(4, 2), cache.head()).select(group).heads[0].tokens ==
        Tokens{0, 1, 2, 3});
  CHECK(HeadPolicy("quest", plain(0, 2), cache.head()).select(group).heads[0].tokens.empty());
  Given least = plain(0, 2);
  least["budget"] = 0.01;  // a share above 0 is a page at least
  CHECK(HeadPolicy("quest", least, cache.head()).select(group).heads[0].tokens == Tokens{2, 3});
  CHECK(HeadPolicy("quest", plain(5, 2), cache.head()).select(group).heads[0].tokens ==
        Tokens{0, 1, 2, 3, 4});  // as many as there are: the partial page too
  Given zone = plain(2, 2);
  zone["sink"] = zone["window"] = std::int64_t{1};
  CHECK(HeadPolicy("quest", zone, cache.head()).select(group).heads[0].tokens ==
        Tokens{0, 2, 3, 4});
}

TEST_CASE("a page's score is not below the logit of any of its tokens") {
  for (int d : {64, 80, 128}) {
    const RandomCache data({1, 4, 203, d});
    PageIndex pages(16, KvDtype::kBf16);
    pages.extend(data.head());
    const MatrixD bounds = pages.upper_bounds(data.group());
    const MatrixD logits = exact_logits(data.group(), data.head());
    double margin = 1;
    for (int h = 0; h < 4; ++h)
      for (std::int64_t j = 0; j < 203; ++j)
        margin = std::min(margin, bounds(h, j / 16) - logits(h, j));
    CHECK(margin >= -1e-12);
  }
}

TEST_CASE("pages that grow token by token equal those built at once") {
  const RandomCache data({1, 2, 100, 16});
  PageIndex grown(16, KvDtype::kBf16), whole(16, KvDtype::kBf16);
  for (std::int64_t n : {1, 2, 15, 16, 17, 64, 99, 100}) {
    KvHead head = data.head();
    head.length = n;
    grown.extend(head);
  }
  whole.extend(data.head());
  CHECK(grown.upper_bounds(data.group()) == whole.upper_bounds(data.group()));
  CHECK(grown.cost().build.bytes == whole.cost().build.bytes);
}

TEST_CASE("Quest with every page is dense") {
  const RandomCache data({2, 4, 205, 32});
  CHECK(distance_to_dense("quest", {{"budget", std::int64_t{205}}}, data) < 1e-5);
  CHECK(distance_to_dense("quest", {{"budget", std::int64_t{1000000000}}}, data) < 1e-5);
  CHECK(distance_to_dense("quest", {{"budget", std::int64_t{32}}}, data) > 1e-3);
}

TEST_CASE("Quest's cost is that of its pages") {
  const RandomCache data({1, 4, 160, 32});
  HeadPolicy quest("quest", {}, data.head());
  const auto out = quest.select(data.group());
  CHECK(out.cost[0][Stage::kEstimate].bytes == 10 * 2 * 32 * 2 / 4.0);  // shared by four heads
  CHECK(out.cost[0][Stage::kEstimate].flops == 10 * 4 * 32.0);
  CHECK(quest.policy->index_cost().memory_bytes == 10 * 2 * 32 * 2.0);
}
