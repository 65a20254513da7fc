// Values that move with the query: the device's map is core's from the same clustering, and the
// shift that it makes is in the output.
#include "core/index/cluster_index.h"
#include "cuda/decoder/convert.h"
#include "cuda/step/cache.h"
#include "cuda/step/item_index.h"
#include "tests/parity/support.h"

namespace doublep::test {
namespace {

using namespace doublep::cuda;

DType device_type(KvDtype dtype) {
  return dtype == KvDtype::kFp32   ? DType::kFp32
         : dtype == KvDtype::kFp16 ? DType::kFp16
                                   : DType::kBf16;
}

/// Sequences of one shape on the device, clustered with a map; sequence b is cases[b].
struct Mapped {
  std::vector<Case> cases;
  std::unique_ptr<Cache> cache;
  std::unique_ptr<ItemIndex> index;
  std::int32_t sink = 4, window = 64;

  explicit Mapped(std::vector<Case> of) : cases(std::move(of)) {
    const Case& c = cases[0];
    const int batch = static_cast<int>(cases.size());
    cache = std::make_unique<Cache>(Shape{batch * c.kv_heads, c.kv_heads, c.group, c.head_dim},
                                    device_type(c.dtype), c.capacity);
    index = std::make_unique<ItemIndex>(*cache, c.capacity / 16 + 1, true);
  }
  std::int32_t tail(int b) const {
    return std::max(sink, static_cast<std::int32_t>(cases[b].length) - window);
  }
  void build(int b, const ItemIndex::Clustering& options) {
    const Case& c = cases[b];
    DeviceBuffer<unsigned char> keys, values;
    keys.upload(to_device_type(c.keys.data(), c.keys.size(), cache->dtype()));
    values.upload(to_device_type(c.values.data(), c.values.size(), cache->dtype()));
    index->build_clusters(*cache, b, keys.get(), values.get(), c.capacity, sink, tail(b),
                          static_cast<std::int32_t>(c.length), options, nullptr);
    DP_CUDA(cudaDeviceSynchronize());
  }
  /// Of the value map or, `shape`, of the covariance that clusters share.
  std::vector<unsigned char> bytes(int b, int kv, bool shape = false) {
    const Case& c = cases[b];
    const int pair = b * c.kv_heads + kv;
    std::vector<unsigned char> host(c.head_dim * cache->row_bytes());
    DP_CUDA(cudaMemcpy(host.data(), shape ? index->key_shape(pair) : index->value_map(pair),
                       host.size(), cudaMemcpyDeviceToHost));
    return host;
  }
  MatrixF map(int b, int kv, bool shape = false) {
    const int d = cases[b].head_dim;
    MatrixF out(d, d);
    from_device_type(bytes(b, kv, shape).data(), out.size(), cache->dtype(), out.data());
    return out;
  }
  /// Core's moments from the clusters and centroids that the device has.
  ClusterIndex expected(int b, int kv) {
    const Case& c = cases[b];
    const int pair = b * c.kv_heads + kv;
    const std::int64_t d = c.head_dim;
    std::int32_t clusters = 0;
    const auto fetch = [](void* to, const void* from, std::size_t size) {
      DP_CUDA(cudaMemcpy(to, from, size, cudaMemcpyDeviceToHost));
    };
    fetch(&clusters, index->num_items() + pair, 4);
    std::vector<std::int32_t> offsets(clusters + 1), order(c.length), labels(tail(b) - sink);
    std::vector<unsigned char> rows(clusters * cache->row_bytes());
    fetch(offsets.data(), index->offsets(pair), offsets.size() * 4);
    fetch(order.data(), cache->order(pair), order.size() * 4);
    fetch(rows.data(), index->rows(pair), rows.size());
    MatrixF centroids(clusters, d);
    from_device_type(rows.data(), clusters * d, cache->dtype(), centroids.data());
    for (std::int32_t i = 0; i < clusters; ++i)
      for (std::int32_t row = offsets[i]; row < offsets[i + 1]; ++row)
        labels[order[row] - sink] = i;
    ClusterIndex made = ClusterIndex::from_assignment(c.cache().head(kv), sink, tail(b),
                                                      std::move(centroids), labels);
    made.add_moments(c.cache().head(kv), {.value_map = true, .key_shape = true});
    return made;
  }
};

Case sloped(KvDtype dtype, int head_dim, std::int64_t length, std::uint64_t seed = 1,
            int kv_heads = 2) {
  Case c;
  c.dtype = dtype, c.head_dim = head_dim, c.length = length, c.capacity = length + 5;
  c.kv_heads = kv_heads;
  c.fill(seed);
  c.slope_values();
  return c;
}

/// Relative to the map's Frobenius norm. Every element is rounded once, to half a unit of its type;
/// float32 sums of some thousand products leave 1e-6 or so, and the means as they are stored, where
/// core takes exact ones, less.
double allowed(KvDtype dtype) {
  const double sums = 2e-5;
  return sums + (dtype == KvDtype::kFp32   ? 0
                 : dtype == KvDtype::kFp16 ? std::ldexp(1.0, -11)
                                           : std::ldexp(1.0, -8));
}

/// Whatever the device made of the two.
void check_map(Mapped& made, int b, int kv) {
  const ClusterIndex expected = made.expected(b, kv);
  for (const bool shape : {false, true}) {
    if (!(shape ? made.index->key_shape() : made.index->value_map())) continue;
    const MatrixF map = made.map(b, kv, shape);
    const MatrixF& wanted = shape ? expected.key_shape() : expected.value_map();
    INFO(made.cases[b].text() << ", sequence " << b << ", KV head " << kv
                              << (shape ? ", key shape" : ", value map") << ", norm "
                              << wanted.norm());
    CHECK(distance(map.data(), wanted.data(), map.size()) < allowed(made.cases[b].dtype));
  }
}

ItemIndex::Clustering with_map(bool values = true, bool keys = true) {
  ItemIndex::Clustering options;
  options.value_map = values, options.key_shape = keys;
  return options;
}

}  // namespace

TEST_CASE("the value map is core's from the same clustering", "[parity]") {
  if (without_device()) return;
  for (const KvDtype dtype : {KvDtype::kFp32, KvDtype::kFp16, KvDtype::kBf16})
    for (const int d : {64, 80, 128, 256})
      for (const std::int64_t length : {69, 90, 700, 9000}) {  // the last: splits of many stages
        if (length == 9000 && d == 256 && dtype == KvDtype::kFp16) continue;  // seconds of core's
        Mapped made({sloped(dtype, d, length)});
        CHECK(made.index->value_map() == nullptr);
        made.build(0, with_map());
        REQUIRE(made.index->value_map() != nullptr);
        for (int kv = 0; kv < made.cases[0].kv_heads; ++kv) {
          check_map(made, 0, kv);
          if (length < 9000) continue;
          const MatrixF map = made.map(0, kv);  // the values' slope is found, not only noise
          CHECK(std::abs(map(2, 3) - Case::kSlope) < 0.15);
          CHECK(std::abs(map(3, 2)) < 0.15);  // row: value, column: key
        }
      }
}

TEST_CASE("a value map without a key shape, and the other way round", "[parity][quick]") {
  if (without_device()) return;
  for (const KvDtype dtype : {KvDtype::kFp32, KvDtype::kFp16, KvDtype::kBf16})
    for (const int d : {64, 80, 128, 256})
      for (const bool values : {false, true}) {
        Mapped made({sloped(dtype, d, 700)});
        made.build(0, with_map(values, !values));
        CHECK((made.index->value_map() != nullptr) == values);
        CHECK((made.index->key_shape() != nullptr) != values);
        for (int kv = 0; kv < made.cases[0].kv_heads; ++kv) check_map(made, 0, kv);
      }
}

// So many heads that a block sums up all rows of one: more than leave the tensor cores at once.
TEST_CASE("moments of more rows than a tensor core sums up", "[parity]") {
  if (without_device()) return;
  Mapped made({sloped(KvDtype::kFp16, 64, 9000, 1, 80)});
  made.build(0, with_map());
  for (const int kv : {0, 41, 79}) check_map(made, 0, kv);
}

TEST_CASE("value maps: from given labels, per sequence, the same every time", "[parity][quick]") {
  if (without_device()) return;
  Mapped made({sloped(KvDtype::kBf16, 128, 700, 1), sloped(KvDtype::kBf16, 128, 700, 2)});
  made.build(0, with_map());
  const auto first = made.bytes(0, 1);
  const auto zero = [](const std::vector<unsigned char>& bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](unsigned char b) { return b == 0; });
  };
  CHECK(!zero(first));
  CHECK(zero(made.bytes(1, 0)));  // not built yet
  ItemIndex::Clustering given = with_map();
  given.clusters = 40;  // one of them without members
  std::vector<std::int32_t> labels(made.cases[1].kv_heads * (made.tail(1) - made.sink));
  for (std::size_t i = 0; i < labels.size(); ++i)
    labels[i] = static_cast<std::int32_t>(i * 7 % 13 + i / 64 % 3 * 13);
  given.labels = labels.data();
  made.build(1, given);
  for (int b = 0; b < 2; ++b)
    for (int kv = 0; kv < 2; ++kv) check_map(made, b, kv);
  CHECK(made.bytes(0, 1) == first);
  made.build(0, with_map());
  CHECK(made.bytes(0, 1) == first);  // bit for bit
  const auto other = made.bytes(1, 1);
  made.cases[0].length = 40;  // sinks and window take all of it
  made.build(0, with_map());
  CHECK(zero(made.bytes(0, 0)));
  CHECK(zero(made.bytes(0, 1)));
  CHECK(made.bytes(1, 1) == other);
}

// What a build leaves, byte by byte: rows, order and tables. The second build of a
// size neither allocates nor waits, or the capture would fail; its replay writes the same.
TEST_CASE("sequences clustered at once are those clustered one by one", "[parity][quick]") {
  if (without_device()) return;
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kFp32})
    for (const bool spherical : {false, true})
      for (const bool warped : {false, true}) {
        std::vector<Case> cases(3);
        for (int b = 0; b < 3; ++b) cases[b].dtype = dtype, cases[b].fill(b + 1);
        ItemIndex::Clustering options;
        options.segment = 300, options.spherical = spherical;
        options.value_map = options.key_shape = !spherical;
        const int d = cases[0].head_dim;
        for (int h = 0; warped && h < cases[0].kv_heads; ++h)
          for (int i = 0; i < d * d; ++i)
            options.warp.push_back(i % (d + 1) == 0 ? 1.f / static_cast<float>(1 + i % 3) : 0.f);
        const auto left = [&](Mapped& m) {
          DP_CUDA(cudaDeviceSynchronize());
          const std::int64_t pairs = m.cache->shape().pairs, items = pairs * m.index->capacity();
          const std::int64_t rows = pairs * m.cache->capacity(), bytes = m.cache->row_bytes();
          std::vector<std::vector<unsigned char>> all;
          for (const auto& [from, count] : std::vector<std::pair<const void*, std::int64_t>>{
                   {m.cache->keys(), rows * bytes},
                   {m.cache->values(), rows * bytes},
                   {m.cache->order(), rows * 4},
                   {m.cache->lengths(), 3 * 4},
                   {m.cache->sink_end(), 3 * 4},
                   {m.cache->tail_begin(), 3 * 4},
                   {m.index->rows(), items * bytes},
                   {m.index->others(), items * bytes},
                   {m.index->meta(), items * 8},
                   {m.index->offsets(), (items + pairs) * 4},
                   {m.index->num_items(), pairs * 4}}) {
            all.emplace_back(count);
            DP_CUDA(cudaMemcpy(all.back().data(), from, count, cudaMemcpyDeviceToHost));
          }
          return all;
        };
        const auto same = [](const auto& mine, const auto& expected) {
          REQUIRE(mine.size() == expected.size());
          for (std::size_t i = 0; i < mine.size(); ++i) {
            INFO("table " << i);
            CHECK(mine[i] == expected[i]);
          }
        };
        Mapped one(cases), together(cases);
        for (Mapped* m : {&one, &together})  // rows that no build writes
          for (void* rows : {m->cache->keys(), m->cache->values()})
            DP_CUDA(cudaMemset(
                rows, 0, m->cache->shape().pairs * m->cache->capacity() * m->cache->row_bytes()));
        for (int b = 0; b < 3; ++b) one.build(b, options);
        const auto expected = left(one);

        DeviceBuffer<unsigned char> keys, values;
        std::vector<float> all_keys, all_values;
        for (const Case& c : cases) {
          all_keys.insert(all_keys.end(), c.keys.begin(), c.keys.end());
          all_values.insert(all_values.end(), c.values.begin(), c.values.end());
        }
        keys.upload(to_device_type(all_keys.data(), all_keys.size(), together.cache->dtype()));
        values.upload(
            to_device_type(all_values.data(), all_values.size(), together.cache->dtype()));
        const auto build = [&](cudaStream_t stream) {
          together.index->build_clusters(
              *together.cache, 0, keys.get(), values.get(), cases[0].capacity, together.sink,
              together.tail(0), static_cast<std::int32_t>(cases[0].length), options, stream, 3);
        };
        INFO("spherical " << spherical << ", warped " << warped << ", " << cases[0].text());
        build(nullptr);
        same(left(together), expected);
        // Sums over all rows are split otherwise where there are more heads.
        for (int b = 0; b < 3 && !spherical; ++b)
          for (int kv = 0; kv < cases[b].kv_heads; ++kv)
            CHECK(distance(together.map(b, kv).data(), one.map(b, kv).data(), d * d) <
                  (dtype == KvDtype::kFp32 ? 1e-5 : 4e-3));
        if (warped) continue;  // a metric comes from the host
        cudaStream_t stream;
        cudaGraph_t graph;
        cudaGraphExec_t program;
        DP_CUDA(cudaStreamCreate(&stream));
        DP_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
        build(stream);
        DP_CUDA(cudaStreamEndCapture(stream, &graph));
        DP_CUDA(cudaGraphInstantiate(&program, graph, 0));
        DP_CUDA(cudaMemset(together.index->rows(), 0xFF,
                           together.cache->shape().pairs * together.index->capacity() *
                               together.cache->row_bytes()));
        DP_CUDA(cudaMemset(together.cache->order(), 0xFF, 64));
        DP_CUDA(cudaGraphLaunch(program, stream));
        DP_CUDA(cudaStreamSynchronize(stream));
        const auto again = left(together);
        CHECK(again[2] == expected[2]);  // order
        const std::int64_t clusters = together.index->num_items_on_host(0);
        CHECK(std::equal(expected[6].begin(),
                         expected[6].begin() + clusters * together.cache->row_bytes(),
                         again[6].begin()));
        DP_CUDA(cudaGraphExecDestroy(program));
        DP_CUDA(cudaGraphDestroy(graph));
        DP_CUDA(cudaStreamDestroy(stream));
      }
}

TEST_CASE("clusters with a value map are built anew, not added to", "[parity]") {
  if (without_device()) return;
  Mapped made({sloped(KvDtype::kBf16, 64, 300)});
  made.build(0, with_map());
  CHECK_THROWS_AS(made.index->append_clusters(*made.cache, 0, 260, with_map(), nullptr), CudaError);
}

// A shift that is left out, transposed or of the wrong scale leaves the attention plausible: what
// the shift alone does to the output is held against what it does to the reference's.
TEST_CASE("the shift is in the output, as large as the reference's", "[parity][quick]") {
  if (without_device()) return;
  for (const KvDtype dtype : {KvDtype::kFp32, KvDtype::kFp16, KvDtype::kBf16})
    for (const char* estimator : {"jensen", "second_order"})
      for (const char* gqa : {"per_head", "group_sum"}) {
        const Case c = sloped(dtype, 128, 700);
        std::vector<float> gpu, reference;  // shifted, then less mean
        double base = 0;
        StepResult results[2];
        for (const bool shifted : {true, false}) {
          const auto decoder = on_gpu({"double_p",
                                       {{"value_side", std::string(shifted ? "shifted" : "mean")},
                                        {"estimator", std::string(estimator)},
                                        {"gqa", std::string(gqa)},
                                        {"outside", std::string("estimate")},
                                        {"p2", 0.3}}},
                                      dtype);
          decoder->prefill(c.cache());
          StepResult& result = results[shifted];
          result = decoder->step(c.block(), Detail::kSelections);
          const Attended same = attend_same(c, result);
          if (shifted) {
            gpu = result.output, reference = same.output;
            continue;
          }
          for (std::size_t i = 0; i < gpu.size(); ++i) {
            gpu[i] -= result.output[i], reference[i] -= same.output[i];
            base += double(same.output[i]) * same.output[i];
          }
        }
        INFO(c.text() << ", " << estimator << ", " << gqa);
        for (std::size_t h = 0; h < results[0].selections.size(); ++h) {
          CHECK(results[0].selections[h].tokens == results[1].selections[h].tokens);
          CHECK(results[0].selections[h].shift.empty());
          CHECK(!results[1].selections[h].shift.empty());
        }
        double squares = 0;
        for (const float v : reference) squares += double(v) * v;
        CHECK(std::sqrt(squares / base) > 0.03);  // the reference's own: 0.048 to 0.066
        // The difference of two outputs has the rounding of both; the mean values' is the same.
        CHECK(distance(gpu.data(), reference.data(), gpu.size()) <
              (dtype == KvDtype::kFp32 ? 0.002 : 0.03));
      }
}

}  // namespace doublep::test
