// A prompt with its last queries, of one KV head, and the best setting over it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

namespace doublep::test {

inline Given best(Given given) {
  given.insert({{"variant", text("best")}, {"head_kinds", text("auto")}});
  return given;
}

/// 512 tokens of 16 dimensions around a few centres, `spread` apart within one; the queries of the
/// prompt's last 64 positions, and those of the steps, are `query` times a normal vector each.
struct Prompt {
  RandomCache cache;
  std::vector<float> queries;

  Prompt(double query, double spread, std::int64_t steps = 1)
      : cache({1, 2, 512, 16, steps}, 1, spread) {
    const CounterRng rng(5, 9);
    for (int i = 0; i < 64 * 2 * 16; ++i)
      queries.push_back(static_cast<float>(query * rng.normal(i)));
    for (float& x : cache.queries) x *= static_cast<float>(query);
  }
  KvHead head() const {
    KvHead head = cache.head();
    head.prefill_queries = {queries.data(), 64, 2, 16, 32};
    return head;
  }
};

}  // namespace doublep::test
