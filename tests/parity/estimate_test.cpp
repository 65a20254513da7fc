// The two ways of rows through the estimate, registers and ring, give the same bits, wherever a
// ring wraps and whatever borders of pairs and regions its tiles cross. What they should be, other
// cases hold against the reference.
#include "cuda/estimate/estimate.h"

#include <cstring>

#include "cuda/common/runtime.h"
#include "tests/parity/support.h"

namespace doublep::test {
namespace {

using namespace doublep::cuda;

constexpr int kKvHeads = 2;  // KV heads of a sequence

/// Zones that end within a tile and at its border, with and without tail, and an empty one.
struct ZoneCase {
  std::int32_t sink, tail, length;
};
const ZoneCase kZones[] = {{4, 60, 100}, {30, 40, 70}, {20, 20, 20}, {16, 90, 106}, {0, 0, 0}};
constexpr std::int64_t kKeyCapacity = 110, kZoneCapacity = 57;

/// Everything an estimate reads, and places for what it writes. Where no row is there is NaN.
struct Inputs {
  EstimateParams p;
  std::uint32_t state = 1;
  DeviceBuffer<std::uint16_t> queries, rows, keys, map, shape;
  DeviceBuffer<ClusterMeta> meta;
  DeviceBuffer<std::int32_t> num_rows, sink_end, tail_begin, lengths;
  DeviceBuffer<float> logits, zone_logits, directions, shape_directions;

  std::uint32_t random() { return (state = state * 1664525u + 1013904223u) >> 8; }
  /// A number of either sign between 1/8 and 2 or so, in either type.
  std::uint16_t number() {
    const std::uint32_t bits = random();
    return static_cast<std::uint16_t>(
        (bits & 1) << 15 |
        (p.dtype == DType::kBf16 ? 0x3E00 + (bits >> 1) % 0x200 : 0x3000 + (bits >> 1) % 0x1000));
  }
  std::vector<std::uint16_t> numbers(std::int64_t count) {
    std::vector<std::uint16_t> out(count);
    for (auto& v : out) v = number();
    return out;
  }

  Inputs(DType dtype, int head_dim, int group, int pairs, std::int64_t capacity,
         const std::vector<std::int32_t>& counts) {
    p.dtype = dtype, p.shape = {pairs, kKvHeads, group, head_dim}, p.capacity = capacity;
    p.scale = 1 / std::sqrt(static_cast<float>(head_dim));
    const std::int64_t d = head_dim, heads = static_cast<std::int64_t>(pairs) * group;
    constexpr std::uint16_t kNan = 0x7FFF;
    auto items = numbers(pairs * capacity * d), zone = numbers(pairs * kKeyCapacity * d);
    std::vector<ClusterMeta> metas(pairs * capacity, {NAN, NAN});
    std::vector<std::int32_t> all, sinks, tails, ends;
    for (int b = 0; b < pairs / kKvHeads; ++b) {
      const ZoneCase& z = kZones[b % std::size(kZones)];
      sinks.push_back(z.sink), tails.push_back(z.tail), ends.push_back(z.length);
    }
    for (int pair = 0; pair < pairs; ++pair) {
      all.push_back(counts[pair % counts.size()]);
      std::fill(items.begin() + (pair * capacity + all[pair]) * d,
                items.begin() + (pair + 1) * capacity * d, kNan);
      std::fill(zone.begin() + (pair * kKeyCapacity + ends[pair / kKvHeads]) * d,
                zone.begin() + (pair + 1) * kKeyCapacity * d, kNan);
      for (int i = 0; i < all[pair]; ++i)
        metas[pair * capacity + i] = {static_cast<float>(random() % 100) / 25,
                                      static_cast<float>(random() % 100) / 50};
    }
    queries.upload(numbers(heads * d)), rows.upload(items), keys.upload(zone), meta.upload(metas);
    map.upload(numbers(pairs * d * d)), shape.upload(numbers(pairs * d * d));
    num_rows.upload(all), sink_end.upload(sinks), tail_begin.upload(tails), lengths.upload(ends);
    logits.resize(heads * capacity), zone_logits.resize(heads * kZoneCapacity);
    directions.resize(heads * d), shape_directions.resize(heads * d);
    p.queries = queries.get(), p.rows = rows.get(), p.num_rows = num_rows.get();
    p.logits = logits.get();
  }
  void with_meta() { p.meta = meta.get(); }
  void with_zone() {
    p.keys = keys.get(), p.key_capacity = kKeyCapacity, p.zone_capacity = kZoneCapacity;
    p.sink_end = sink_end.get(), p.tail_begin = tail_begin.get(), p.lengths = lengths.get();
    p.zone_logits = zone_logits.get();
  }
  void with_map() { p.value_map = map.get(), p.directions = directions.get(); }
  void with_shape() { p.key_shape = shape.get(), p.shape_directions = shape_directions.get(); }

  /// All that it wrote, and what it left.
  std::vector<float> run(EstimatePath path, int blocks, bool full) {
    p.path = path, p.blocks = blocks, p.full = full;
    std::vector<float> out;
    const auto outputs = {&logits, &zone_logits, &directions, &shape_directions};
    for (auto* buffer : outputs)
      DP_CUDA(cudaMemset(buffer->get(), 0xAB, buffer->size() * sizeof(float)));
    estimate(p, nullptr);
    for (auto* buffer : outputs) {
      const auto part = buffer->download();
      out.insert(out.end(), part.begin(), part.end());
    }
    return out;
  }
  void check(const std::vector<int>& blocks) {
    const auto expected = run(EstimatePath::kRegisters, 0, false);
    for (const int b : blocks)
      for (const bool full : {false, true}) {
        INFO("head_dim " << p.shape.head_dim << ", group " << p.shape.group << ", " << p.shape.pairs
                         << " pairs, " << b << " blocks" << (full ? ", full" : ""));
        const auto mine = run(EstimatePath::kRing, b, full);
        CHECK(std::memcmp(mine.data(), expected.data(), mine.size() * sizeof(float)) == 0);
      }
    for (const float v : expected) REQUIRE(!std::isnan(v));
  }
};

}  // namespace

TEST_CASE("the estimate's ring gives the bits that registers give", "[parity][quick]") {
  if (without_device()) return;
  for (const DType dtype : {DType::kBf16, DType::kFp16})
    for (const int head_dim : {64, 80, 128, 256})
      for (const int group : {1, 3, 6, 8}) {
        // Pairs of all sizes about a tile, and empty ones side by side; 13 tiles of items at most.
        Inputs in(dtype, head_dim, group, 10, 208, {208, 0, 1, 15, 16, 17, 0, 0, 150, 207});
        in.check({1, 3, 0});  // items alone, of no size
        in.with_meta(), in.with_zone();
        in.p.estimator = MassEstimate::kSecondOrder;
        in.check({1, 3});
        in.p.estimator = MassEstimate::kPooled;
        in.with_shape();
        in.check({3});
        in.with_map();
        in.check({1, 7, 0});
        in.p.sparse = true;
        in.check({3});
      }
}

TEST_CASE("a short ring of the estimate wraps", "[parity][quick][race]") {
  if (without_device()) return;
  Inputs in(DType::kBf16, 128, 2, 4, 800, {800, 33, 0, 500});
  in.with_meta(), in.with_zone(), in.with_shape();
  in.check({1});
}

TEST_CASE("a large estimate gives the same bits whichever way is taken", "[parity]") {
  if (without_device()) return;
  for (const std::vector<std::int32_t>& counts :
       {std::vector<std::int32_t>{2048}, {2048, 5, 1000, 0, 2047}}) {
    Inputs in(DType::kBf16, 128, 4, 64, 2048, counts);
    in.with_meta(), in.with_zone(), in.with_shape();
    in.check({0});
    for (const bool full : {false, true}) {
      const auto any = in.run(EstimatePath::kAny, 0, full);
      const auto expected = in.run(EstimatePath::kRegisters, 0, full);
      CHECK(std::memcmp(any.data(), expected.data(), any.size() * sizeof(float)) == 0);
    }
  }
}

}  // namespace doublep::test
