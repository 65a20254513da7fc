// Selections by rank and number of tokens: which clusters, how many tokens, and the pooled estimate
// that orders them, all against core's from the same index.
#include "core/index/mass_estimate.h"
#include "core/policy/refinement.h"
#include "cuda/index/stages.h"
#include "tests/parity/batch.h"
#include "tests/parity/near_ties.h"

namespace doublep::test {
namespace {

/// Two backends' scores are sums of squares of masses that are rounded differently.
constexpr double kNearScore = 3 * kNearTie;

/// Below it the device knows no order, and float64 soon none either.
const double kLeast = std::exp(-700);

/// Does a cluster of one score go before one of another, clearly? Equal scores: the lower id.
bool clearly_before(double score, std::int32_t id, double other, std::int32_t other_id) {
  if (score == other) return id < other_id;
  return score > kLeast && std::log(score / std::max(other, kLeast)) >= kNearScore;
}

/// The first clusters of core's order with as many tokens as are wanted, near-ties aside.
void check_order(const Selection& head, const ExactZone& zone, const RefinementOptions& options,
                 const VectorD& scores, std::int64_t length) {
  const ClusterIndex& index = *head.index;
  const auto size = [&](std::int32_t c) { return static_cast<double>(index.size(c)); };
  const Set mine = refined_clusters(head);
  double tokens = 0, present = 0;
  std::int32_t last = -1, first = -1;  // taken and left out, where the order has them
  for (std::int32_t c = 0; c < index.num_clusters(); ++c) {
    if (index.size(c) == 0) continue;
    present += size(c);
    const bool taken = std::binary_search(mine.begin(), mine.end(), c);
    if (taken) tokens += size(c);
    if (taken && (last < 0 || scores[c] <= scores[last])) last = c;
    if (!taken && (first < 0 || scores[c] > scores[first])) first = c;
  }
  CHECK(static_cast<double>(head.tokens.size()) == tokens + static_cast<double>(zone.size()));
  const double wanted = std::min(wanted_tokens(options, length), present);
  CHECK(tokens >= wanted);
  if (last < 0) return;
  // The one that made it enough is as low as the last, or so near that it may have been.
  double largest = size(last);
  for (const std::int32_t c : mine)
    if (scores[c] != scores[last] && !clearly_before(scores[c], c, scores[last], last))
      largest = std::max(largest, size(c));
  CHECK(tokens - largest < wanted);
  if (first < 0) return;
  INFO("last taken " << last << " of " << scores[last] << ", first left out " << first << " of "
                     << scores[first]);
  CHECK(!clearly_before(scores[first], first, scores[last], last));
}

void check_ranked(const Case& c, const Setup& setup) {
  const PolicyInfo& info = PolicyRegistry::instance().find(setup.policy);
  const Parameters p = resolve(info, setup.given);
  const auto decoder = on_gpu(setup, c.dtype);
  decoder->prefill(c.cache());
  const StepResult result = decoder->step(c.block(), Detail::kSelections);
  const ExactZone zone = ExactZone::of(p.integer("sink"), p.integer("window"), c.length);
  const RefinementOptions options = refinement_options(p);
  const Attended same = attend_same(c, result);
  INFO(p.to_json() << ", " << c.text());
  for (int kv = 0; kv < c.kv_heads; ++kv) {
    INFO("KV head " << kv);
    const Selection* heads = result.selections.data() + kv * c.group;
    const QueryGroup group = c.block().group(kv, c.kv_heads);
    const ClusterIndex& index = *heads[0].index;
    const MatrixD log_masses = estimate_log_masses(index, group, parse_estimator(p));
    const TermErrors errors = term_errors(c.cache().head(kv), zone, group, index, log_masses,
                                          logit_variances(index, group), false);
    const VectorD scores =
        refinement_scores(options, index, group, errors).colwise().sum().transpose();
    std::int64_t occupied = 0;
    for (std::int64_t i = 0; i < index.num_clusters(); ++i) occupied += index.size(i) > 0;
    check_order(heads[0], zone, options, scores, c.length);
    for (int g = 0; g < c.group; ++g) {
      INFO("head " << g);
      CHECK(heads[g].tokens == heads[0].tokens);
      // Everything else is a term, of the estimate's mass.
      const auto refined = static_cast<std::int64_t>(refined_clusters(heads[g]).size());
      CHECK(static_cast<std::int64_t>(heads[g].terms.size()) == occupied - refined);
      double farthest = 0;
      for (const ClusterTerm& t : heads[g].terms)
        farthest = std::max(farthest, std::abs(t.log_mass - log_masses(g, t.cluster)));
      CHECK(farthest < kNearTie);
      const std::int64_t at = (static_cast<std::int64_t>(kv) * c.group + g) * c.head_dim;
      const double largest = index.num_clusters() > 0 ? std::abs(log_masses.row(g).maxCoeff()) : 0;
      // A logit in float32 is some 1e-6 of its size off, and a weight as far as its logit.
      CHECK(distance(result.output.data() + at, same.output.data() + at, c.head_dim) <
            tolerance(c.dtype).terms + 1e-6 * largest);
    }
  }
}

/// One token a cluster, so that a short cache has many of them.
Setup of_single_tokens(std::map<std::string, ParamValue> other = {}) {
  other.insert({{"tokens_per_cluster", std::int64_t{1}},
                {"iterations", std::int64_t{1}},
                {"kmeans_init", std::string("evenly_spaced")}});
  return best(std::move(other));
}

}  // namespace

TEST_CASE("clusters are refined by error until the tokens are enough, as the reference does",
          "[parity]") {
  if (without_device()) return;
  const std::vector<Setup> setups = {
      best(),
      best({{"share", 0.3}, {"value_side", std::string("mean")}}),
      best({{"objective", std::string("error")}}),
      best({{"objective", std::string("error")}, {"share", 0.3}}),
      best({{"share", 1.0}}),
      best({{"stop", std::string("tokens")}, {"tokens", std::int64_t{1}}}),
      best({{"stop", std::string("tokens")}, {"tokens", std::int64_t{0}}}),
      best({{"order", std::string("p2")}, {"share", 0.1}}),
      best({{"order", std::string("mass")},
            {"share", 0.1},
            {"tokens_per_cluster", std::int64_t{32}}}),
      best({{"order", std::string("p2")}, {"estimator", std::string("second_order")}}),
      best({{"order", std::string("mass")}, {"estimator", std::string("jensen")}}),
  };
  Case like;
  like.length = like.capacity = 900;
  for_each_case(setups, like, [](const Case& c, const Setup& setup) { check_ranked(c, setup); });
}

TEST_CASE("every head dimension and group size by error", "[parity][quick]") {
  if (without_device()) return;
  for (const int d : {64, 80, 128, 256})
    for (const int group : {1, 3, 8})
      for (const KvDtype dtype : {KvDtype::kFp32, KvDtype::kBf16}) {
        Case c;
        c.head_dim = d, c.group = group, c.dtype = dtype;
        c.fill();
        check_ranked(c, best({{"share", 0.1}}));
      }
}

TEST_CASE("short caches by error", "[parity][quick]") {
  if (without_device()) return;
  for (const std::int64_t length : {1, 2, 17, 60, 68, 69, 70, 85, 100}) {
    Case c;
    c.length = length, c.capacity = length + 3;
    c.fill();
    check_ranked(c, best());
  }
}

TEST_CASE("ten thousand clusters by error, and ties by the thousand", "[parity]") {
  if (without_device()) return;
  // One token a cluster: no variance, so that every error is zero and ids decide; by mass every
  // score is another. Several blocks share a KV head here.
  for (const char* order : {"error", "mass"})
    for (const Kind kind : {Kind::kPlain, Kind::kEqualKeys}) {
      Case c;
      c.kind = kind, c.kv_heads = 1, c.group = 2, c.head_dim = 64;
      c.length = c.capacity = 20068;
      c.fill();
      for (const double share : {0.04, 0.7})
        check_ranked(c, of_single_tokens({{"order", std::string(order)}, {"share", share}}));
    }
}

TEST_CASE("blocks that share a KV head keep masses in global memory where they are many",
          "[parity]") {
  if (without_device()) return;
  Case c;  // 47 thousand clusters of eight heads are more than eight blocks hold the masses of
  c.kv_heads = 1, c.group = 8, c.head_dim = 64, c.length = c.capacity = 47068;
  c.fill();
  check_ranked(c, of_single_tokens({{"order", std::string("mass")}, {"share", 0.1}}));
}

// Caches so small that a sanitizer gets through: four blocks for a KV head of 532 clusters, by
// scores and by ids where no score differs, two for one of 266 by votes, and ...
TEST_CASE("several blocks share a small KV head", "[parity][quick][race]") {
  if (without_device()) return;
  Case c;
  c.kv_heads = 1, c.group = 2, c.head_dim = 64, c.length = c.capacity = 600;
  c.fill();
  for (const char* order : {"mass", "error"})
    check_ranked(c, of_single_tokens({{"order", std::string(order)}, {"share", 0.3}}));
  check_ranked(c, best({{"objective", std::string("error")},
                        {"tokens_per_cluster", std::int64_t{2}},
                        {"share", 0.3}}));
}

// ... more KV heads than there are multiprocessors, a block each, two of which share one.
TEST_CASE("more KV heads by error than the chip has multiprocessors", "[parity][quick][race]") {
  if (without_device()) return;
  Case c;
  c.kv_heads = 140, c.group = 1, c.head_dim = 64, c.length = c.capacity = 120;
  c.fill();
  check_ranked(c, best({{"tokens_per_cluster", std::int64_t{4}}, {"share", 0.2}}));
}

// Errors grow with exp(sigma^2): with queries ten times as long sigma^2 is 30 to 40 here, twenty
// times 120 to 160, beyond what float32 holds of it.
TEST_CASE("clusters whose logits vary widely keep their order by error", "[parity][quick]") {
  if (without_device()) return;
  for (const float longer : {10.f, 20.f}) {
    Case c;
    c.dtype = KvDtype::kFp32, c.length = c.capacity = 900;
    c.fill();
    for (float& q : c.queries) q *= longer;
    for (const double share : {0.1, 0.3})
      for (const char* objective : {"squared_error", "error"})
        check_ranked(c, best({{"share", share}, {"objective", std::string(objective)}}));
  }
}

TEST_CASE("the pooled estimate in selections by mass", "[parity]") {
  if (without_device()) return;
  for (const KvDtype dtype : {KvDtype::kFp32, KvDtype::kFp16, KvDtype::kBf16})
    for (const Setup& setup :
         {Setup{"double_p", {{"estimator", std::string("pooled")}, {"p2", 0.3}}},
          Setup{"double_p",
                {{"estimator", std::string("pooled")},
                 {"value_side", std::string("shifted")},
                 {"gqa", std::string("group_sum")},
                 {"mass_scope", std::string("all")},
                 {"outside", std::string("estimate")}}},
          Setup{"cluster_top_p", {{"estimator", std::string("pooled")}, {"p", 0.8}}},
          Setup{"cluster_top_k", {{"estimator", std::string("pooled")}, {"k", std::int64_t{9}}}}}) {
      Case c;
      c.dtype = dtype, c.length = c.capacity = 900;
      c.fill();
      const auto decoder = on_gpu(setup, dtype);
      decoder->prefill(c.cache());
      const StepResult result = decoder->step(c.block(), Detail::kSelections);
      const Attended same = attend_same(c, result);
      INFO(setup.policy << ", " << c.text());
      CHECK(distance(result.output.data(), same.output.data(), result.output.size()) <
            tolerance(dtype).terms);
      for (std::size_t h = 0; h < result.selections.size(); ++h) {
        const Selection& head = result.selections[h];
        const int kv = static_cast<int>(h) / c.group, g = static_cast<int>(h) % c.group;
        const MatrixD log_masses =
            estimate_log_masses(*head.index, c.block().group(kv, c.kv_heads), Estimator::kPooled);
        for (const ClusterTerm& t : head.terms)
          CHECK(std::abs(t.log_mass - log_masses(g, t.cluster)) < kNearTie);
      }
    }
}

TEST_CASE("keys times a symmetric matrix; the identity leaves them as they are",
          "[parity][quick]") {
  if (without_device()) return;
  for (const DType dtype : {DType::kBf16, DType::kFp16})
    for (const int d : {64, 80, 128, 256}) {
      const int pairs = 2, points = 1050, rows = 1060;
      const CounterRng rng(7, d);
      std::uint64_t at = 0;
      std::vector<float> keys(static_cast<std::size_t>(pairs) * rows * d), warp(pairs * d * d, 0.f);
      for (float& k : keys) k = static_cast<float>(rng.normal(at++));
      for (int i = 0; i < d; ++i) warp[i * d + i] = 1;
      for (int i = 0; i < d; ++i)
        for (int j = 0; j <= i; ++j)
          warp[(d + i) * d + j] = warp[(d + j) * d + i] =
              static_cast<float>(rng.normal(at++) / std::sqrt(d));
      const auto bytes = to_device_type(keys.data(), keys.size(), dtype);
      from_device_type(bytes.data(), keys.size(), dtype, keys.data());  // rounded
      DeviceBuffer<unsigned char> on_device;
      on_device.upload(bytes);
      DeviceBuffer<float> matrix;
      matrix.upload(warp);
      DeviceBuffer<std::uint16_t> out(static_cast<std::size_t>(pairs) * points * d);
      warp_keys({dtype, pairs, d, points, reinterpret_cast<std::uint16_t*>(on_device.get()),
                 static_cast<std::int64_t>(rows) * d, matrix.get(), out.get()},
                nullptr);
      const auto raw = out.download();
      std::vector<float> warped(raw.size());
      from_device_type(reinterpret_cast<const unsigned char*>(raw.data()), raw.size(), dtype,
                       warped.data());
      INFO("head_dim " << d << (dtype == DType::kFp16 ? ", fp16" : ", bf16"));
      for (int pair = 0; pair < pairs; ++pair) {
        std::vector<float> expected(static_cast<std::size_t>(points) * d);
        for (int r = 0; r < points; ++r)
          for (int j = 0; j < d; ++j) {
            double sum = 0;
            for (int i = 0; i < d; ++i)
              sum += double(keys[(static_cast<std::size_t>(pair) * rows + r) * d + i]) *
                     warp[(pair * d + i) * d + j];
            expected[static_cast<std::size_t>(r) * d + j] = static_cast<float>(sum);
          }
        const float* mine = warped.data() + static_cast<std::size_t>(pair) * points * d;
        if (pair == 0)
          CHECK(std::equal(expected.begin(), expected.end(), mine));
        else  // the matrix and the products are rounded once each
          CHECK(distance(mine, expected.data(), expected.size()) <
                (dtype == DType::kFp16 ? std::ldexp(1.0, -10) : std::ldexp(1.0, -7)));
      }
    }
}

}  // namespace doublep::test
