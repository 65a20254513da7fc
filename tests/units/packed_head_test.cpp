// Does kv_dtype: fp8 store what E4M3 can, block by block, and is what it reads counted?
#include "core/cache/packed_head.h"

#include <limits>

#include "core/base/e4m3.h"
#include "core/base/half.h"
#include "core/index/cluster_index.h"
#include "tests/catch.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

PolicyContext in_fp8() {
  PolicyContext context;
  context.kv_dtype = KvDtype::kFp8;
  return context;
}

// Of every number of the format nearest to x, the one with an even code: by looking at all.
std::uint8_t nearest(float x) {
  int best = 0;
  for (int code = 0; code < 0x7F; ++code) {
    const double far =
                     std::abs(e4m3_to_float(static_cast<std::uint8_t>(code)) - std::abs(double(x))),
                 least =
                     std::abs(e4m3_to_float(static_cast<std::uint8_t>(best)) - std::abs(double(x)));
    if (far < least || (far == least && code % 2 == 0)) best = code;
  }
  return static_cast<std::uint8_t>(best | (std::signbit(x) ? 0x80 : 0));
}

}  // namespace

TEST_CASE("E4M3 by hand: largest, smallest, ties, zeros, what is beyond") {
  CHECK(e4m3_to_float(0x7E) == 448);
  CHECK(e4m3_to_float(0x08) == 0.015625f);
  CHECK(e4m3_to_float(0x01) == 0.001953125f);
  CHECK(e4m3_to_float(0x38) == 1);
  CHECK(std::isnan(e4m3_to_float(0xFF)));
  CHECK(float_to_e4m3(0.0f) == 0x00);
  CHECK(float_to_e4m3(-0.0f) == 0x80);
  CHECK(float_to_e4m3(1.0625f) == 0x38);  // tie between 1 and 1.125: even
  CHECK(float_to_e4m3(1.1875f) == 0x3A);  // tie between 1.125 and 1.25: even
  CHECK(float_to_e4m3(447) == 0x7E);
  CHECK(float_to_e4m3(-1e30f) == 0xFE);
  CHECK(float_to_e4m3(std::numeric_limits<float>::infinity()) == 0x7E);
  CHECK((float_to_e4m3(std::numeric_limits<float>::quiet_NaN()) & 0x7F) == 0x7F);
  CHECK(float_to_e4m3(std::ldexp(1.0f, -10)) == 0x00);  // half a unit: tie to zero
  CHECK(float_to_e4m3(std::ldexp(1.01f, -10)) == 0x01);
  CHECK(float_to_e4m3(std::ldexp(7.5f, -9)) == 0x08);  // up into the normal numbers
  CHECK(float_to_e4m3(std::numeric_limits<float>::denorm_min()) == 0x00);
}

TEST_CASE("E4M3: every code comes back, and every float goes to the nearest") {
  int wrong = 0;
  for (int code = 0; code < 256; ++code)
    if ((code & 0x7F) != 0x7F)
      wrong += float_to_e4m3(e4m3_to_float(static_cast<std::uint8_t>(code))) != code;
  CHECK(wrong == 0);
  const CounterRng rng(3);
  for (int i = 0; i < 20000; ++i) {
    const auto x =
        static_cast<float>(rng.normal(2 * i) * std::exp2(24 * rng.uniform(2 * i + 1) - 14));
    wrong += float_to_e4m3(x) != nearest(x);
  }
  CHECK(wrong == 0);
}

TEST_CASE("a block is stored with one scale, its largest number exactly") {
  const RandomCache cache({1, 1, 40, 16});
  PackedHead packed;
  packed.extend(cache.head());
  const std::vector<std::int32_t> block = {3, 4, 7}, one = {20}, none;
  packed.pack(block), packed.pack(one), packed.pack(none);
  const KvHead stored = packed.stored(cache.head());
  const auto check = [&](const std::vector<std::int32_t>& tokens, const float* plain,
                         const float* kept) {
    float largest = 0;
    const auto at = [](const float* rows, std::int32_t t, int i) {
      return bfloat16_to_float(float_to_bfloat16(rows[t * 16 + i]));
    };
    for (const auto t : tokens)
      for (int i = 0; i < 16; ++i) largest = std::max(largest, std::fabs(at(plain, t, i)));
    for (const auto t : tokens)
      for (int i = 0; i < 16; ++i) {
        const float x = at(plain, t, i), y = at(kept, t, i);
        // Half a unit in the last of four digits, or of the smallest ones.
        CHECK(std::fabs(y - x) <= std::max(std::fabs(x) / 16, largest / 448 / 1024) * 1.01f);
        if (std::fabs(x) == largest) CHECK(std::fabs(kept[t * 16 + i] / x - 1) < 1e-6f);
      }
  };
  for (const auto& tokens : {block, one}) {
    check(tokens, cache.head().keys, stored.keys);
    check(tokens, cache.head().values, stored.values);
  }
  for (const int t : {0, 5, 21})  // in no block: as they were
    for (int i = 0; i < 16; ++i) CHECK(stored.key(t)[i] == cache.head().key(t)[i]);
}

TEST_CASE("a block of zeros, and one whose numbers are next to nothing, stay finite") {
  HandCache cache(2, std::vector<float>{0, 0, 0, 0, 1e-38f, 0},
                  std::vector<float>{1, 2, 3, 4, 5, 6});
  PackedHead packed;
  packed.extend(cache.head());
  packed.pack(std::vector<std::int32_t>{0, 1});
  packed.pack(std::vector<std::int32_t>{2});
  const KvHead stored = packed.stored(cache.head());
  for (int i = 0; i < 6; ++i) CHECK(stored.keys[i] == 0);
  CHECK(stored.values[5] == Approx(6).epsilon(1e-6));
}

TEST_CASE(
    "what was packed stays so while tokens join, in blocks of 64 where there are no clusters") {
  const RandomCache cache({1, 1, 200, 16});
  KvHead head = cache.head();
  PackedHead packed;
  head.length = 100;
  packed.extend(head), packed.pack_in_order();
  std::vector<std::int32_t> all(200);
  for (int i = 0; i < 200; ++i) all[i] = i;
  PackedHead::Read read = packed.read(std::span(all).first(100));
  CHECK(read.plain == 36);
  CHECK(read.pieces == 4);
  head.length = 200;
  packed.extend(head), packed.pack_in_order();
  read = packed.read(all);
  CHECK(read.plain == 8);
  CHECK(read.pieces == 12);
  CHECK(packed.read(std::vector<std::int32_t>{0, 1, 70}).pieces == 2);
  const KvHead stored = packed.stored(head);
  CHECK(stored.key(150)[3] != head.key(150)[3]);
  CHECK(stored.key(195)[3] == head.key(195)[3]);
}

TEST_CASE("fp8: dense halves its bytes but for scales and what is in no block, and errs a little") {
  const RandomCache cache({1, 4, 140, 16});
  std::vector<StepResult> results;
  for (const PolicyContext& context : {PolicyContext{}, in_fp8()}) {
    const auto decoder = make_decoder("dense", {}, context);
    decoder->prefill(cache.view());
    results.push_back(decoder->step(cache.block(), Detail::kSelections));
  }
  CHECK(results[0].cost[0][Stage::kAttend].bytes == 140 * 2 * 16 * 2 / 4);
  // Two blocks of 64 tokens, 1 byte an element, 4 pairs of scales each; 12 tokens of 2 bytes.
  CHECK(results[1].cost[0][Stage::kAttend].bytes == (128 * 32 + 8 * 8 + 12 * 64) / 4.0);
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < results[0].output.size(); ++i) {
    difference += std::pow(results[1].output[i] - results[0].output[i], 2);
    norm += std::pow(results[0].output[i], 2);
  }
  CHECK(std::sqrt(difference / norm) > 1e-3);
  CHECK(std::sqrt(difference / norm) < 0.08);
}

TEST_CASE("fp8: double_p stores its clusters, and stores them anew when they are made anew") {
  const RandomCache cache({1, 2, 300, 16});
  const Given given = {{"sink", std::int64_t{4}},
                       {"window", std::int64_t{32}},
                       {"recluster_every", std::int64_t{40}},
                       {"p1", 1.0},
                       {"p2", 1.0}};
  const auto decoder = make_decoder("double_p", given, in_fp8());
  const auto step = [&] { return decoder->step(cache.block(), Detail::kSelections); };
  decoder->prefill(cache.view().first(250));
  const auto pieces = [](const ClusterIndex& index) {
    std::int64_t count = 0;
    for (std::int64_t c = 0; c < index.num_clusters(); ++c) count += (index.size(c) + 15) / 16;
    return static_cast<double>(count);
  };
  const auto bytes = [&](const StepResult& r, double packed, double plain) {
    return (packed * 32 + plain * 64 + 8 * pieces(*r.selections[0].index)) / 2;
  };
  const StepResult first = step();
  REQUIRE(first.selections[0].tokens.size() == 250);
  CHECK(first.cost[0][Stage::kAttend].bytes == bytes(first, 250 - 36, 36));
  decoder->append(cache.view().first(270));  // not yet
  const StepResult second = step();
  CHECK(second.cost[0][Stage::kAttend].bytes == bytes(second, 250 - 36, 56));
  decoder->append(cache.view().first(300));
  const StepResult third = step();
  CHECK(third.cost[0][Stage::kAttend].bytes == bytes(third, 300 - 36, 36));
  CHECK(third.selections[0].index != first.selections[0].index);
}
