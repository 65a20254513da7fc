// A cache that grows may move: what every policy does with it depends on its values alone.
#include <limits>
#include <vector>

#include "tests/catch.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

constexpr std::int64_t kTokens = 160, kPrompt = 120, kSteps = 8;

// The first `length` tokens of every head, packed: another place for every length.
struct Packed {
  std::vector<float> keys, values;
  KvCacheView view;

  Packed(const RandomCache& from, std::int64_t length) {
    view = from.view().first(length);
    for (int h = 0; h < view.num_kv_heads; ++h) {
      const KvHead head = view.head(h);
      keys.insert(keys.end(), head.keys, head.key(length));
      values.insert(values.end(), head.values, head.value(length));
    }
    view.keys = keys.data(), view.values = values.data(), view.capacity = length;
  }
};

}  // namespace

TEST_CASE("every policy decodes the same over a cache that lies elsewhere after each token") {
  const RandomCache cache({2, 2, kTokens, 16, kSteps});
  for (const PolicyInfo& policy : PolicyRegistry::instance().all()) {
    INFO(policy.name);
    const auto still = make_decoder(policy.name), moved = make_decoder(policy.name);
    auto packed = std::make_unique<Packed>(cache, kPrompt);
    still->prefill(cache.view().first(kPrompt));
    moved->prefill(packed->view);
    for (std::int64_t t = 0; t < kSteps; ++t) {
      const std::int64_t length = kPrompt + 1 + 5 * t;
      auto next = std::make_unique<Packed>(cache, length);
      // Whoever still looked there would notice.
      for (auto* rows : {&packed->keys, &packed->values})
        rows->assign(rows->size(), std::numeric_limits<float>::quiet_NaN());
      packed = std::move(next);
      still->append(cache.view().first(length));
      moved->append(packed->view);
      const StepResult a = still->step(cache.block(t), Detail::kSelections),
                       b = moved->step(cache.block(t), Detail::kSelections);
      CHECK(a.output == b.output);
      for (std::size_t h = 0; h < a.selections.size(); ++h)
        CHECK(a.selections[h].tokens == b.selections[h].tokens);
    }
  }
}
