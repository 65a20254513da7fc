// The tables of a batch's index as tokens join: what was added to them is what a fresh build has,
// and other sequences do not notice.
#include <numeric>

#include "tests/parity/batch.h"

namespace doublep::test {
namespace {

template <class T>
std::vector<T> read(const T* from, std::size_t count) {
  std::vector<T> host(count);
  DP_CUDA(cudaMemcpy(host.data(), from, count * sizeof(T), cudaMemcpyDeviceToHost));
  return host;
}
std::vector<unsigned char> read_bytes(const void* from, std::size_t count) {
  return read(static_cast<const unsigned char*>(from), count);
}

/// What the cache and the index hold of one sequence.
struct Tables {
  std::vector<std::vector<unsigned char>> vectors;
  std::vector<std::vector<std::int32_t>> offsets, order;
  std::vector<std::int32_t> items;
  bool operator==(const Tables&) const = default;

  Tables(Batch& batch, ItemIndex& index, int sequence, std::int32_t rows) {
    items = read(index.num_items() + sequence * kHeads, kHeads);
    for (int h = 0; h < kHeads; ++h) {
      const int pair = sequence * kHeads + h;
      const std::size_t bytes = items[h] * batch.cache->row_bytes();
      vectors.push_back(read_bytes(index.rows(pair), bytes));
      vectors.push_back(read_bytes(index.others(pair), bytes));
      vectors.push_back(read_bytes(batch.cache->keys(pair), rows * batch.cache->row_bytes()));
      vectors.push_back(read_bytes(batch.cache->values(pair), rows * batch.cache->row_bytes()));
      offsets.push_back(read(index.offsets(pair), items[h] + 1));
      order.push_back(read(batch.cache->order(pair), rows));
    }
  }
};

}  // namespace

TEST_CASE("pages that grew are those of a fresh build", "[parity][quick]") {
  if (without_device()) return;
  for (const std::int64_t page_size : {16, 10}) {
    Batch batch({300, 77});
    ItemIndex grown(*batch.cache, 80, true, true), fresh(*batch.cache, 80, true, true);
    const std::size_t words = 2 * kHeads * batch.cache->capacity();
    for (ItemIndex* index : {&grown, &fresh})  // compared beyond the last token, too
      DP_CUDA(cudaMemset(index->codes(), 0, words * kDim / 8 * 4)),
          DP_CUDA(cudaMemset(index->scales(), 0, words * sizeof(NibbleScale)));
    for (int b = 0; b < 2; ++b) {
      std::int64_t from = 0, length = batch.cases[b].length;
      for (const int joined : {0, 1, 12, 40}) {
        batch.cases[b].length = length += joined;
        batch.zones(b, 4, std::max<std::int64_t>(4, length - 30));
        grown.extend_pages(*batch.cache, b, page_size, static_cast<std::int32_t>(from), nullptr);
        from = length;
      }
      fresh.extend_pages(*batch.cache, b, page_size, 0, nullptr);
    }
    for (int b = 0; b < 2; ++b) {
      const auto rows = static_cast<std::int32_t>(batch.cases[b].length);
      const Tables mine(batch, grown, b, rows), expected(batch, fresh, b, rows);
      INFO("sequence " << b << ", pages of " << page_size);
      CHECK(mine == expected);
      CHECK(mine.items[0] == (rows + page_size - 1) / page_size);
      // Rows of the pages: everything but sinks and tail, once.
      CHECK(mine.offsets[0].front() == 4);
      CHECK(mine.offsets[0].back() == rows - 30);
      CHECK(std::is_sorted(mine.offsets[0].begin(), mine.offsets[0].end()));
    }
    CHECK(read_bytes(grown.codes(), words * kDim / 8 * 4) ==
          read_bytes(fresh.codes(), words * kDim / 8 * 4));
    CHECK(read_bytes(grown.scales(), words * sizeof(NibbleScale)) ==
          read_bytes(fresh.scales(), words * sizeof(NibbleScale)));
  }
}

TEST_CASE("clusters that join leave the others alone", "[parity][quick]") {
  if (without_device()) return;
  for (const bool spherical : {false, true}) {
    Batch batch({250, 400, 150});
    ItemIndex index(*batch.cache, 21, true);  // no room for more: the tables move
    batch.cluster(index);
    std::vector<Tables> before;
    for (int b = 0; b < 3; ++b) before.emplace_back(batch, index, b, 86);  // rows of the shortest
    const std::int64_t capacity = index.capacity();

    const std::int32_t length = 400 + 230, tail = length - 64;
    batch.cache->set_zones(1, 4, 400 - 64, length);  // the rows are there
    ItemIndex::Clustering options;
    options.segment = 100, options.spherical = spherical;
    index.append_clusters(*batch.cache, 1, tail, options, nullptr);
    CHECK(index.capacity() > capacity);
    CHECK(Tables(batch, index, 0, 86) == before[0]);
    CHECK(Tables(batch, index, 2, 86) == before[2]);

    const Tables after(batch, index, 1, tail);
    const std::int32_t first = before[1].items[0], added = 6 + 6 + 1;  // of 100, 100 and 30 tokens
    const Case& c = batch.cases[1];
    for (int h = 0; h < kHeads; ++h) {
      INFO("KV head " << h << (spherical ? ", spherical" : ""));
      REQUIRE(after.items[h] == first + added);
      CHECK(std::equal(before[1].offsets[h].begin(), before[1].offsets[h].end(),
                       after.offsets[h].begin()));
      CHECK(std::equal(before[1].vectors[4 * h].begin(), before[1].vectors[4 * h].end(),
                       after.vectors[4 * h].begin()));
      CHECK(after.offsets[h].back() == tail);
      CHECK(std::is_sorted(after.offsets[h].begin(), after.offsets[h].end()));
      // The rows that joined hold each of their tokens once, keys and values beside each other.
      std::vector<std::int32_t> joined(after.order[h].begin() + 336, after.order[h].end());
      std::sort(joined.begin(), joined.end());
      std::vector<std::int32_t> expected(tail - 336);
      std::iota(expected.begin(), expected.end(), 336);
      CHECK(joined == expected);
      std::vector<float> keys(tail * kDim), values(tail * kDim);
      from_device_type(after.vectors[4 * h + 2].data(), tail * kDim, DType::kBf16, keys.data());
      from_device_type(after.vectors[4 * h + 3].data(), tail * kDim, DType::kBf16, values.data());
      bool same = true;
      for (std::int32_t row = 336; row < tail; ++row) {
        const std::size_t from = (h * c.capacity + after.order[h][row]) * kDim;
        same &= std::equal(keys.begin() + row * kDim, keys.begin() + (row + 1) * kDim,
                           c.keys.begin() + from);
        same &= std::equal(values.begin() + row * kDim, values.begin() + (row + 1) * kDim,
                           c.values.begin() + from);
      }
      CHECK(same);
    }
  }
}

TEST_CASE("what grows an index sees the tokens that joined on the device", "[parity][quick]") {
  if (without_device()) return;
  Batch batch({300});
  ItemIndex index(*batch.cache, 30, true);
  batch.cluster(index);
  DeviceBuffer<unsigned char> row(kHeads * batch.cache->row_bytes());
  row.zero();
  for (int i = 0; i < 40; ++i) batch.cache->append(row.get(), row.get(), nullptr);
  CHECK(batch.cache->zones(0).length == 340);
  ItemIndex::Clustering options;
  CHECK_THROWS(index.append_clusters(*batch.cache, 0, 341, options, nullptr));
  CHECK_THROWS(index.append_clusters(*batch.cache, 0, 235, options, nullptr));
  index.append_clusters(*batch.cache, 0, 276, options, nullptr);
  const Cache::Zones zones = batch.cache->zones(0);
  CHECK(zones.length == 340);
  CHECK(zones.tail_begin == 276);
}

}  // namespace doublep::test
