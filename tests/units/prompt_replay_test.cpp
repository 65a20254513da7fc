// The prompt's queries asked again: what each of them is given is what it would have had in
// decoding.
#include "core/policy/prompt_replay.h"

#include "core/cost/stages.h"
#include "core/policy/clustered_cache.h"
#include "core/policy/registry.h"
#include "tests/catch.h"
#include "tests/support/random_cache.h"

using namespace doublep;
using namespace doublep::test;

namespace {

struct Asked {
  std::int64_t visible, tail_begin, zone_length, index_end, last_member;
  std::int32_t clusters;
  const float* query;
  const ClusterIndex* index;
};

// Of `recorded` queries at the end of 1000 tokens, the first 4 sinks and the last `window` exact.
std::vector<Asked> ask(std::int64_t recorded, std::int64_t most, std::int64_t window,
                       std::vector<float>& queries, std::int64_t tokens = 1000) {
  const RandomCache cache({1, 2, tokens, 8});
  queries.assign(static_cast<std::size_t>(recorded * 2 * 8), 1.F);
  KvHead head = cache.head();
  head.prefill_queries = {queries.data(), recorded, 2, 8, 16};
  const PolicyInfo& info = PolicyRegistry::instance().find("double_p");
  ClusteredCache clusters(resolve(info, {{"window", window}}), KvDtype::kBf16);
  clusters.prefill(head);
  PromptReplay replay;
  replay.prefill(head, most);
  std::vector<Asked> all;
  std::vector<std::shared_ptr<const ClusterIndex>> kept;  // so that no address comes twice
  replay.each(head, clusters.exact(), clusters.index(), cache.group(),
              [&](std::int64_t, const KvHead& seen, const ExactZone& zone,
                  const std::shared_ptr<const ClusterIndex>& index, const QueryGroup& group) {
                std::int64_t last = -1;
                for (std::int64_t c = 0; c < index->num_clusters(); ++c)
                  if (index->size(c) > 0)
                    last = std::max<std::int64_t>(last, index->members(c).back());
                kept.push_back(index);
                all.push_back({seen.length, zone.tail_begin, zone.length, index->end(), last,
                               static_cast<std::int32_t>(index->num_clusters()), group.queries,
                               index.get()});
              });
  CHECK(replay.asked() == 0);
  return all;
}

}  // namespace

TEST_CASE("a prompt's query sees no later token, and its last ones exactly") {
  std::vector<float> queries;
  const auto all = ask(256, 32, 64, queries);
  REQUIRE(all.size() == 32);
  std::vector<const ClusterIndex*> indexes;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Asked& a = all[i];
    CHECK(a.query == queries.data() + (8 * i + 4) * 16);  // spread over all 256
    CHECK(a.visible == 1000 - 256 + 8 * static_cast<std::int64_t>(i) + 4);
    CHECK(a.zone_length == a.visible);
    CHECK(a.tail_begin == a.index_end);  // nothing is neither exact nor in the index, or both
    CHECK(a.last_member == a.index_end - 1);
    CHECK(a.visible - a.tail_begin >= 64);
    CHECK(a.visible - a.tail_begin < 128);
    CHECK(a.clusters == all.back().clusters);
    if (indexes.empty() || indexes.back() != a.index) indexes.push_back(a.index);
  }
  CHECK(indexes.size() == 4);  // one in 64 positions
}

TEST_CASE("of a short prompt with all its queries the last ones are asked, no later token either") {
  std::vector<float> queries;
  for (const auto& [tokens, recorded] :
       {std::pair{300, 256}, std::pair{1000, 900}, std::pair{3000, 2900}})
    for (const Asked& a : ask(recorded, 32, 64, queries, tokens)) {
      const std::int64_t place = (a.query - queries.data()) / 16;
      CHECK(a.visible == tokens - recorded + place);
      CHECK(a.index_end >= 4 + (tokens - 64 - 4) / 2);
      CHECK(a.last_member == a.index_end - 1);
      CHECK(a.visible - a.tail_begin >= 64);
      CHECK(a.visible - a.tail_begin < 128);
    }
  for (const Asked& a : ask(60, 32, 64, queries, 80)) {  // hardly longer than its window
    CHECK(a.visible == 80 - 60 + (a.query - queries.data()) / 16);
    CHECK(a.index_end <= a.visible);
    CHECK(a.last_member < a.visible);
  }
}

TEST_CASE("the shorter indexes of a prompt's queries are charged") {
  const RandomCache cache({1, 2, 1000, 8});
  const std::vector<float> queries(256 * 2 * 8, 1.F);
  KvHead head = cache.head();
  head.prefill_queries = {queries.data(), 256, 2, 8, 16};
  ClusteredCache clusters(resolve(PolicyRegistry::instance().find("double_p"), {}), KvDtype::kBf16);
  clusters.prefill(head);
  const ClusterIndex& index = *clusters.index();
  PromptReplay replay;
  replay.prefill(head, 32);
  // Of 256 queries the first 64 see up to 192 tokens less than all, and so on: the index ends at
  // 936 for the tokens of the window, and 256, 192, 128 and 64 tokens earlier.
  const std::vector<std::int64_t> cuts = {680, 744, 808, 872};
  CHECK(replay.cuts(clusters.exact()) == cuts);
  const Work asked = cost::learn_factors(32, 2, 1000, static_cast<double>(index.num_clusters()), 8,
                                         8, KvDtype::kBf16),
             found = replay.cost(head, clusters.exact(), index.num_clusters(), KvDtype::kBf16);
  double points = 0;  // of all of them, without the sinks
  for (std::int64_t cut : cuts) points += static_cast<double>(cut - 4);
  // Keys and values of 8 elements in 2 bytes; four operations an element.
  CHECK(found.bytes - asked.bytes == Approx(points * 2 * 8 * 2));
  CHECK(found.flops - asked.flops == Approx(points * 4 * 16));
}
