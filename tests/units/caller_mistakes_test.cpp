// A library's caller who gets a call wrong gets an exception, not the end of his program.
#include <limits>
#include <stdexcept>
#include <vector>

#include "core/decoder/reference_decoder.h"
#include "core/index/kmeans.h"
#include "core/index/mass_estimate.h"
#include "tests/catch.h"

using namespace doublep;

namespace {

struct FlatCache {
  static constexpr int kKvHeads = 2, kHeads = 4, kDim = 8, kTokens = 40;
  std::vector<float> rows = std::vector<float>(kKvHeads * kTokens * kDim, 0.5f);
  KvCacheView cache = {rows.data(), rows.data(), kKvHeads, kTokens, kTokens, kDim};
  QueryBlock queries = {rows.data(), kHeads, kDim, 0.25, 0};
  const PolicyInfo& info = PolicyRegistry::instance().find("double_p");
  ReferenceDecoder decoder{
      info, resolve(info, {{"sink", std::int64_t{0}}, {"window", std::int64_t{0}}}), {}};
};

}  // namespace

TEST_CASE("a decoder that is called out of order throws, and can still be used in order") {
  FlatCache flat;
  CHECK_THROWS_AS(flat.decoder.step(flat.queries, Detail::kOutput), std::invalid_argument);
  CHECK_THROWS_AS(flat.decoder.append(flat.cache), std::invalid_argument);
  flat.decoder.prefill(flat.cache.first(30));
  CHECK_THROWS_AS(flat.decoder.prefill(flat.cache), std::invalid_argument);
  CHECK_THROWS_AS(flat.decoder.append(flat.cache.first(20)), std::invalid_argument);
  CHECK_THROWS_AS(flat.decoder.append(flat.cache.first(FlatCache::kTokens + 1)),
                  std::invalid_argument);
  flat.decoder.append(flat.cache);
  CHECK(flat.decoder.step(flat.queries, Detail::kOutput).output[0] == Approx(0.5));
}

TEST_CASE("shapes that do not fit are refused before anything is read") {
  FlatCache flat;
  CHECK_THROWS_AS(flat.decoder.prefill(flat.cache.first(FlatCache::kTokens + 1)),
                  std::invalid_argument);
  flat.decoder.prefill(flat.cache);
  QueryBlock odd = flat.queries;
  odd.num_query_heads = 3;
  CHECK_THROWS_AS(flat.decoder.step(odd, Detail::kOutput), std::invalid_argument);
  odd = flat.queries, odd.head_dim = 2 * FlatCache::kDim;
  CHECK_THROWS_AS(flat.decoder.step(odd, Detail::kOutput), std::invalid_argument);
}

TEST_CASE("keys that are not finite, and an estimator without its moments, are the caller's") {
  FlatCache flat;
  flat.rows[17] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(flat.decoder.prefill(flat.cache), std::invalid_argument);

  FlatCache other;
  const ClusterIndex index = ClusterIndex::build(other.cache.head(0), 0, FlatCache::kTokens, {});
  const QueryGroup group = other.queries.group(0, FlatCache::kKvHeads);
  CHECK_THROWS_AS(estimate_log_masses(index, group, Estimator::kDiagonal), std::invalid_argument);
}

TEST_CASE("a policy that declares a parameter twice, or reads one that it did not declare") {
  CHECK_THROWS_AS(join({{flag("a", true, "")}, {flag("a", true, "")}}), std::invalid_argument);
  const Parameters parameters("mine", {flag("a", true, "")}, {});
  CHECK_THROWS_AS(parameters.integer("b"), std::invalid_argument);
}
