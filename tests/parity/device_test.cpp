// The device-level step without the decoder around it: batches of different lengths, graphs, and
// the rivals as the benchmark runs them.
#include <algorithm>

#include "tests/parity/batch.h"

namespace doublep::test {
namespace {

void check_dense(const Batch& batch, const std::vector<float>& output) {
  for (std::size_t b = 0; b < batch.cases.size(); ++b)
    for (int h = 0; h < kHeads * kGroup; ++h) {
      const Case& c = batch.cases[b];
      const auto expected = attend_tokens(c, h / kGroup, h % kGroup, all_tokens(c.length));
      INFO("sequence " << b << ", head " << h);
      CHECK(distance(output.data() + (b * kHeads * kGroup + h) * kDim, expected.data(), kDim) <
            2e-4);
    }
}

StepOptions double_p() {
  StepOptions o;
  o.kind = StepKind::kItems, o.scale = kScale;
  return o;
}
/// Up to a share of each sequence's own tokens, everything else terms.
StepOptions by_share() {
  StepOptions o = double_p();
  o.rule = SelectRule::kTokens, o.share = 0.2, o.group_mode = GroupMode::kSum;
  o.outside_terms = true, o.zone_capacity = 68;
  return o;
}

/// A step over the batch gives every sequence what it gets alone.
void check_alone(Batch& batch, const StepOptions& options) {
  ItemIndex index(*batch.cache, 40, true);
  batch.cluster(index);
  DecodeStep sparse(*batch.cache, &index, options);
  batch.set_queries(sparse);
  sparse.enqueue(nullptr);
  const auto together = batch.output(sparse);
  for (std::size_t b = 0; b < batch.cases.size(); ++b) {
    Batch alone({batch.cases[b].length}, batch.cache->capacity());
    alone.cases[0] = batch.cases[b];
    const auto keys =
        to_device_type(alone.cases[0].keys.data(), alone.cases[0].keys.size(), DType::kBf16);
    const auto values =
        to_device_type(alone.cases[0].values.data(), alone.cases[0].values.size(), DType::kBf16);
    alone.source_keys.upload(keys), alone.source_values.upload(values);
    ItemIndex own(*alone.cache, 40, true);
    alone.cluster(own);
    DecodeStep one(*alone.cache, &own, options);
    alone.set_queries(one);
    one.enqueue(nullptr);
    const auto output = alone.output(one);
    INFO("sequence " << b);
    CHECK(distance(together.data() + b * output.size(), output.data(), output.size()) < 1e-5);
  }
}

}  // namespace

TEST_CASE("a batch of different lengths is its sequences", "[parity][quick]") {
  if (without_device()) return;
  Batch batch({40, 700, 1, 333});
  StepOptions dense;
  dense.scale = kScale;
  DecodeStep step(*batch.cache, nullptr, dense);
  batch.set_queries(step);
  step.enqueue(nullptr);
  check_dense(batch, batch.output(step));
  for (const StepOptions& options : {double_p(), by_share()}) check_alone(batch, options);
}

TEST_CASE("so is a batch with more heads than the chip has multiprocessors", "[parity]") {
  if (without_device()) return;  // select has half as many threads a block then
  std::vector<std::int64_t> lengths;
  for (int b = 0; b < 70; ++b) lengths.push_back(90 + 3 * b);
  Batch batch(lengths, 320);
  for (const StepOptions& options : {double_p(), by_share()}) check_alone(batch, options);
}

TEST_CASE("a captured step replays bit for bit, and sees appended tokens", "[parity][quick]") {
  if (without_device()) return;
  Batch batch({300, 77});
  StepOptions options;
  options.scale = kScale;
  DecodeStep step(*batch.cache, nullptr, options);
  batch.set_queries(step);
  // The next token of a sequence stands in its case already, one row beyond its length.
  DeviceBuffer<unsigned char> keys, values;
  std::vector<float> new_keys, new_values;
  for (const Case& c : batch.cases)
    for (int h = 0; h < kHeads; ++h) {
      const std::size_t at = (h * c.capacity + c.length) * kDim;
      new_keys.insert(new_keys.end(), c.keys.begin() + at, c.keys.begin() + at + kDim);
      new_values.insert(new_values.end(), c.values.begin() + at, c.values.begin() + at + kDim);
    }
  keys.upload(to_device_type(new_keys.data(), new_keys.size(), DType::kBf16));
  values.upload(to_device_type(new_values.data(), new_values.size(), DType::kBf16));

  cudaStream_t stream;
  DP_CUDA(cudaStreamCreate(&stream));
  const auto capture = [&](bool append) {
    cudaGraph_t graph;
    cudaGraphExec_t program;
    DP_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    if (append) batch.cache->append(keys.get(), values.get(), stream);
    step.enqueue(stream);
    DP_CUDA(cudaStreamEndCapture(stream, &graph));
    DP_CUDA(cudaGraphInstantiate(&program, graph, 0));
    DP_CUDA(cudaGraphDestroy(graph));
    return program;
  };
  const auto replay = [&](cudaGraphExec_t program) {
    DP_CUDA(cudaGraphLaunch(program, stream));
    DP_CUDA(cudaStreamSynchronize(stream));
    return batch.output(step);
  };
  const auto plain = capture(false), growing = capture(true);
  const auto first = replay(plain), second = replay(plain);
  CHECK(std::memcmp(first.data(), second.data(), first.size() * sizeof(float)) == 0);
  check_dense(batch, first);
  const auto grown = replay(growing);
  for (Case& c : batch.cases) ++c.length;
  check_dense(batch, grown);
  DP_CUDA(cudaGraphExecDestroy(plain));
  DP_CUDA(cudaGraphExecDestroy(growing));
  DP_CUDA(cudaStreamDestroy(stream));
}

TEST_CASE("quest takes the pages of highest bound", "[parity][quick]") {
  if (without_device()) return;
  Batch batch({700});
  const Case& c = batch.cases[0];
  ItemIndex index(*batch.cache, 50, true, true);
  batch.zones(0, 0, c.length);
  index.extend_pages(*batch.cache, 0, 16, 0, nullptr);
  StepOptions options;
  options.kind = StepKind::kItems, options.pages = true, options.rule = SelectRule::kCount;
  options.scale = kScale;
  DecodeStep step(*batch.cache, &index, options);
  step.set_budget(0, 9, 9);
  batch.set_queries(step);
  step.enqueue(nullptr);
  const auto output = batch.output(step);
  for (int kv = 0; kv < kHeads; ++kv) {
    const StepWork work = step.work(kv);
    for (int g = 0; g < kGroup; ++g) {
      std::vector<double> bounds((c.length + 15) / 16);
      for (std::size_t page = 0; page < bounds.size(); ++page)
        for (int i = 0; i < kDim; ++i) {
          double best = -INFINITY;
          for (std::int64_t r = 0; r < std::min<std::int64_t>(16, c.length - page * 16); ++r)
            best = std::max(best, double(c.queries[(kv * kGroup + g) * kDim + i]) *
                                      c.keys[(kv * c.capacity + page * 16 + r) * kDim + i]);
          bounds[page] += best;
        }
      std::vector<std::int32_t> tokens;
      std::vector<bool> taken(bounds.size(), false);
      for (const Run& run : work.runs)
        if (run.meta >> (8 + g) & 1)
          for (std::uint32_t r = 0; r < (run.meta & 0xFF); ++r) {
            tokens.push_back(static_cast<std::int32_t>(run.row + r));
            taken[(run.row + r) / 16] = true;
          }
      double least = INFINITY, most = -INFINITY;
      for (std::size_t page = 0; page < bounds.size(); ++page)
        taken[page] ? least = std::min(least, bounds[page]) : most = std::max(most, bounds[page]);
      CHECK(std::count(taken.begin(), taken.end(), true) == 9);
      CHECK(least > most - 1e-3 * std::abs(most));
      const auto expected = attend_tokens(c, kv, g, tokens);
      CHECK(distance(output.data() + (kv * kGroup + g) * kDim, expected.data(), kDim) < 2e-4);
    }
  }
}

TEST_CASE("twilight holds p of its candidates by their 4-bit keys, and its zone",
          "[parity][quick]") {
  if (without_device()) return;
  Batch batch({700});
  const Case& c = batch.cases[0];
  ItemIndex index(*batch.cache, 50, true, true);
  batch.zones(0, 0, c.length / 16 * 16);
  index.extend_pages(*batch.cache, 0, 16, 0, nullptr);
  StepOptions options;
  options.kind = StepKind::kTwilight, options.pages = true, options.twilight_p = 0.8;
  options.scale = kScale;
  DecodeStep step(*batch.cache, &index, options);
  step.set_budget(0, 44, 44);  // every page is a candidate
  batch.set_queries(step);
  step.enqueue(nullptr);
  const auto output = batch.output(step);
  for (int kv = 0; kv < kHeads; ++kv)
    for (int g = 0; g < kGroup; ++g) {
      std::vector<std::pair<double, std::int32_t>> estimated;  // decoded keys, one at a time
      double total = 0;
      for (std::int32_t j = 0; j < c.length; ++j) {
        const float* key = c.keys.data() + (kv * c.capacity + j) * kDim;
        const auto [low, high] = std::minmax_element(key, key + kDim);
        const double unit = (double(*high) - *low) / 15;
        double dot = 0;
        for (int i = 0; i < kDim; ++i)
          dot += c.queries[(kv * kGroup + g) * kDim + i] *
                 (*low + unit * std::nearbyint((double(key[i]) - *low) / unit));
        estimated.push_back({std::exp(dot * kScale), j});
        total += estimated.back().first;
      }
      std::vector<std::int32_t> tokens;
      const auto zone = batch.cache->zones(0);
      const auto in_zone = [&](std::int32_t j) {
        return j < zone.sink_end || j >= zone.tail_begin;
      };
      double held = 0, least = INFINITY, above = 0;
      for (const std::uint32_t entry : step.work(kv).tokens)
        if (entry >> (kIdBits + g) & 1) {
          tokens.push_back(static_cast<std::int32_t>(entry & kIdMask));
          held += estimated[tokens.back()].first / total;
          if (!in_zone(tokens.back()))
            least = std::min(least, estimated[tokens.back()].first / total);
        }
      for (const auto& [weight, token] : estimated) above += weight / total > least ? weight : 0;
      CHECK(held > 0.8 - 1e-3);
      CHECK(above / total < 0.8 + 1e-3);  // what p takes before the last token that it takes
      std::sort(tokens.begin(), tokens.end());
      for (std::int32_t j = 0; j < c.length; ++j)
        if (in_zone(j)) CHECK(std::binary_search(tokens.begin(), tokens.end(), j));
      const auto expected = attend_tokens(c, kv, g, tokens);
      CHECK(distance(output.data() + (kv * kGroup + g) * kDim, expected.data(), kDim) < 2e-4);
    }
}

TEST_CASE("retroinfer ranks a group's clusters together, without their size", "[parity][quick]") {
  if (without_device()) return;
  Batch batch({700});
  ItemIndex index(*batch.cache, 40, true);
  batch.cluster(index);
  StepOptions options = double_p();
  options.rule = SelectRule::kCount, options.group_mode = GroupMode::kSum;
  options.rank_without_size = true;
  DecodeStep step(*batch.cache, &index, options);
  step.set_budget(0, 12, 3);
  batch.set_queries(step);
  step.enqueue(nullptr);
  for (int kv = 0; kv < kHeads; ++kv) {
    const StepWork work = step.work(kv);
    CHECK(work.terms.size() == 9);
    // The masses that it should have ranked by, from the logits that the device estimated.
    const std::int64_t k = (700 - 68) / 16, stride = step.mass_stride();
    std::vector<float> logits(kGroup * stride);
    std::vector<ClusterMeta> meta(stride);
    std::vector<std::int32_t> offsets(k + 1);
    DP_CUDA(cudaMemcpy(logits.data(), step.log_masses() + kv * kGroup * stride, logits.size() * 4,
                       cudaMemcpyDeviceToHost));
    DP_CUDA(
        cudaMemcpy(meta.data(), index.meta(kv), k * sizeof(ClusterMeta), cudaMemcpyDeviceToHost));
    DP_CUDA(
        cudaMemcpy(offsets.data(), index.offsets(kv), offsets.size() * 4, cudaMemcpyDeviceToHost));
    std::vector<double> masses(k, 0.0);
    for (int g = 0; g < kGroup; ++g) {
      double total = 0;
      const auto mass = [&](std::int64_t i) {
        return std::isinf(logits[g * stride + i])
                   ? 0.0
                   : std::exp(double(logits[g * stride + i]) - meta[i].log_size);
      };
      for (std::int64_t i = 0; i < k; ++i) total += mass(i);
      for (std::int64_t i = 0; i < k; ++i) masses[i] += mass(i) / total;
    }
    std::vector<double> sorted = masses;
    std::sort(sorted.rbegin(), sorted.rend());
    for (std::int64_t i = 0; i < k; ++i) {
      bool refined = false, term = false;
      for (const Run& run : work.runs)
        refined |= offsets[i + 1] > offsets[i] &&
                   run.row >= static_cast<std::uint32_t>(offsets[i]) &&
                   run.row < static_cast<std::uint32_t>(offsets[i + 1]);
      for (const std::uint32_t t : work.terms)
        term |= (t & kIdMask) == static_cast<std::uint32_t>(i);
      if (masses[i] > sorted[2] * 1.001) CHECK(refined);
      if (masses[i] < sorted[3] * 1.001 && masses[i] < sorted[2] * 0.999) CHECK(!refined);
      if (masses[i] < sorted[12] * 1.001 && masses[i] < sorted[11] * 0.999) CHECK(!term);
    }
  }
}

TEST_CASE("a step goes by the factors that it was told last, in a graph too", "[parity][quick]") {
  if (without_device()) return;
  Batch batch({700, 333});
  ItemIndex index(*batch.cache, 48, true);
  ItemIndex::Clustering clustering;
  clustering.key_shape = true;
  batch.cluster(index, clustering);
  StepOptions options;
  options.kind = StepKind::kItems, options.scale = kScale;
  options.rule = SelectRule::kError, options.rank = RankBy::kError;
  options.estimator = MassEstimate::kPooled, options.group_mode = GroupMode::kSum;
  options.outside_terms = true, options.zone_capacity = 68, options.error = 0.05;
  DecodeStep step(*batch.cache, &index, options);
  batch.set_queries(step);
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t run = nullptr;
  DP_CUDA(cudaStreamCreate(&stream));
  DP_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  step.enqueue(stream);
  DP_CUDA(cudaStreamEndCapture(stream, &graph));
  DP_CUDA(cudaGraphInstantiate(&run, graph, 0));
  const int pairs = batch.cache->shape().pairs;
  const auto terms = [&](double factor) {
    for (int pair = 0; pair < pairs && factor >= 0; ++pair)
      step.set_factors(pair, std::vector<double>(kGroup, factor));
    DP_CUDA(cudaGraphLaunch(run, stream));
    DP_CUDA(cudaStreamSynchronize(stream));
    std::vector<std::size_t> counts;
    for (int pair = 0; pair < pairs; ++pair) counts.push_back(step.work(pair).terms.size());
    return counts;
  };
  const auto untold = terms(-1), none = terms(0), some = terms(3), all = terms(INFINITY);
  for (int pair = 0; pair < pairs; ++pair) {
    INFO("pair " << pair);
    std::size_t single = 0, occupied = 0;
    const auto offsets = std::vector<std::int32_t>([&] {
      std::vector<std::int32_t> host(index.num_items_on_host(pair) + 1);
      DP_CUDA(cudaMemcpy(host.data(), index.offsets(pair), host.size() * sizeof(std::int32_t),
                         cudaMemcpyDeviceToHost));
      return host;
    }());
    for (std::size_t i = 1; i < offsets.size(); ++i) {
      single += offsets[i] - offsets[i - 1] == 1;
      occupied += offsets[i] > offsets[i - 1];
    }
    CHECK(none[pair] == occupied);  // nothing is more than what is allowed
    CHECK(all[pair] == single);     // one token errs by nothing
    CHECK(untold[pair] == all[pair]);
    CHECK(some[pair] < none[pair]);
    CHECK(some[pair] > all[pair]);
  }
  cudaGraphExecDestroy(run), cudaGraphDestroy(graph), cudaStreamDestroy(stream);
}

}  // namespace doublep::test
