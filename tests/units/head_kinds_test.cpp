// What inspect says of the kind of a head, on caches whose ranks, shares, drifts and masses are
// worked out by hand.
#include "experiments/inspect/head_kinds.h"

#include <cmath>
#include <memory>

#include "core/trace/hdf5/trace_writer.h"
#include "tests/catch.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::test;

namespace {

using Vector4 = std::vector<float>;
constexpr int kToyDim = 4;
const Vector4 kX = {1, 0, 0, 0}, kY = {0, 1, 0, 0}, kZ = {0, 0, 1, 0};

/// One layer, one KV head of 4 dimensions, softmax scale 1; the last dimension is where clusters of
/// 8 tokens lie apart, 20 from one to the next.
class ToyHead {
 public:
  /// `offsets`: the members' distances from their centroid, the same in each of the clusters.
  ToyHead(const std::vector<Vector4>& offsets, int clusters) {
    info_.num_kv_heads = 1, info_.head_dim = info_.value_dim = kToyDim;
    info_.model = "toy", info_.task = "synthetic", info_.softmax_scale = 1, info_.layers = {0};
    for (int c = 0; c < clusters; ++c)
      for (const Vector4& offset : offsets) {
        Vector4 key = offset;
        key[3] += 20 * static_cast<float>(c);
        add(layer_.keys, key);
      }
    prompt_ = clusters * static_cast<std::int64_t>(offsets.size());
  }
  /// Of one position or step, a row a query head.
  void prefill(const std::vector<Vector4>& heads) {
    for (const Vector4& q : heads) add(layer_.prefill_queries, q);
  }
  void step(const std::vector<Vector4>& heads) {
    info_.num_query_heads = static_cast<int>(heads.size());
    info_.positions.push_back(prompt_ - 1 + info_.num_steps());
    for (const Vector4& q : heads) add(layer_.queries, q);
  }
  std::vector<HeadStatistics> inspect() {
    info_.path = folder_.file("t.h5"), info_.num_tokens = info_.positions.back() + 1;
    while (static_cast<std::int64_t>(layer_.keys.size()) < info_.num_tokens * kToyDim)
      add(layer_.keys, {0, 0, 0, 1000});  // of the steps; in no cluster
    layer_.values = layer_.keys;
    TraceWriter writer(info_, StoredType::kFloat32);
    writer.write_layer(layer_);
    writer.finish();
    InspectOptions options;
    options.sink = options.window = 0;
    options.tokens_per_cluster = 8, options.heads = true;
    return inspect_layer(Trace::open(info_.path), 0, options);
  }

 private:
  static void add(std::vector<float>& to, const Vector4& row) {
    to.insert(to.end(), row.begin(), row.end());
  }
  TempDir folder_;
  TraceInfo info_;
  TraceLayer layer_;
  std::int64_t prompt_ = 0;
};

// 8 members as far as 1 from the centroid: either way along every axis; along the first axis only.
std::vector<Vector4> isotropic() {
  std::vector<Vector4> rows;
  for (int axis = 0; axis < kToyDim; ++axis)
    for (float side : {1.F, -1.F}) rows.emplace_back(kToyDim, 0.F)[axis] = side;
  return rows;
}
std::vector<Vector4> along_x() {
  std::vector<Vector4> rows(8, Vector4(kToyDim, 0.F));
  for (int i = 0; i < 8; ++i) rows[i][0] = i % 2 ? 1.F : -1.F;
  return rows;
}

}  // namespace

TEST_CASE("isotropic clusters: second order is right, and pooled, which costs more, no better") {
  ToyHead toy(isotropic(), 3);
  toy.step({{0.5F, 0.5F, 0, 0}});
  const HeadStatistics s = toy.inspect().at(0);
  // Logits +-0.5 of four members, 0 of four; variance per dimension 1/4.
  const double truth = std::log((1 + std::cosh(0.5)) / 2), second = 0.5 * 0.25 * 0.5;
  CHECK(s.logit_variance == Approx(0.125));
  CHECK(s.log_error_jensen == Approx(truth));
  CHECK(s.log_error_second_order == Approx(second - truth));
  CHECK(s.log_error_pooled == Approx(second - truth));
  CHECK(best_estimator(s) == "second_order");
  CHECK(s.key_rank == Approx(1));
  CHECK(s.query_rank == Approx(1));
}

TEST_CASE("clusters of one shared direction: pooled is right where the query looks along it") {
  ToyHead toy(along_x(), 3);
  toy.step({{0.5F, 1, 0, 0}, {0, 0.5F, 0, 0}});
  const auto heads = toy.inspect();
  const double truth = std::log(std::cosh(0.5));
  CHECK(heads[0].log_error_jensen == Approx(truth));
  CHECK(heads[0].log_error_second_order == Approx(0.5 * 0.25 * 1.25 - truth));
  CHECK(heads[0].log_error_pooled == Approx(0.125 - truth));
  CHECK(best_estimator(heads[0]) == "pooled");
  CHECK(heads[0].logit_variance == Approx(0.25));
  CHECK(heads[0].key_rank == Approx(0.25));  // one of four directions
  // Across it nothing spreads: the isotropic form overshoots, and the simplest is right.
  CHECK(heads[1].logit_variance == 0);
  CHECK(heads[1].log_error_second_order == Approx(0.5 * 0.25 * 0.25));
  CHECK(heads[1].log_error_pooled == Approx(0).margin(1e-9));
  CHECK(best_estimator(heads[1]) == "jensen");
}

TEST_CASE("errors are weighted by true mass, and what holds none has no say") {
  const std::vector<float> keys(12, 0.F);
  const KvHead cache{keys.data(), keys.data(), 3, kToyDim};
  const std::vector<std::int32_t> assignment = {0, 1, 2};
  const auto index =
      ClusterIndex::from_assignment(cache, 0, 3, MatrixF::Zero(3, kToyDim), assignment);
  const double logits[] = {std::log(3.0), 0, -1e6}, weights[] = {0.75, 0.25, 0};
  const double jensen[] = {std::log(3.0) + 1, -3, 0}, second[] = {std::log(3.0), 0, 0},
               pooled[] = {std::log(3.0), 4, 0};
  HeadStatistics s;
  judge_estimates(index, {logits, weights, std::log(4.0)}, {jensen, second, pooled}, s);
  CHECK(s.log_error_jensen == Approx(0.75 * 1 + 0.25 * 3));
  CHECK(s.log_error_second_order == Approx(0).margin(1e-12));
  CHECK(s.log_error_pooled == Approx(1));
  CHECK(s.logit_variance == 0);
}

TEST_CASE("the share within clusters is that of the metric it is asked in") {
  // Centroids 20 apart: 100 along the last axis, against 1/4 along each.
  ToyHead toy(isotropic(), 2);
  toy.prefill({kX, {1, 0, 0, 1}});
  toy.step({kX, {1, 0, 0, 1}});
  const auto heads = toy.inspect();
  CHECK(heads[0].key_within == Approx(1.0 / 101));
  CHECK(heads[0].query_within == Approx(1));  // looks where clusters do not differ
  CHECK(heads[1].query_within == Approx(0.5 / 100.5));
}

TEST_CASE("drift: none, to other directions, and half way") {
  ToyHead toy(isotropic(), 2);
  for (const Vector4& q : {kX, kY}) toy.prefill({q, q, kX});
  toy.step({kX, kZ, kX});
  toy.step({kY, kZ, kY});
  const auto heads = toy.inspect();
  CHECK(heads[0].drift == Approx(0).margin(1e-9));
  CHECK(heads[1].drift == Approx(1));
  // diag(1, 0) against diag(1/2, 1/2): sqrt(1/2 / (3/2)).
  CHECK(heads[2].drift == Approx(std::sqrt(1.0 / 3)));
  CHECK(heads[0].query_rank == Approx(2));
  CHECK(heads[2].query_rank == Approx(1));
  for (const auto& head : heads) CHECK(head.prompt_positions == 2);
}

TEST_CASE("without the prompt's queries the first half of the steps stands in") {
  ToyHead toy(isotropic(), 2);
  for (const Vector4& q : {kX, kX, kY, kY}) toy.step({q});
  const HeadStatistics s = toy.inspect().at(0);
  CHECK(s.prompt_positions == 0);
  CHECK(s.drift == Approx(1));
  CHECK(s.query_rank == Approx(1));
  CHECK(s.query_within == Approx(1));
  ToyHead single(isotropic(), 2);
  single.step({kX});
  CHECK(std::isnan(single.inspect().at(0).drift));  // nothing to compare with
}

TEST_CASE("of the prompt's queries the last 64 positions count") {
  ToyHead toy(isotropic(), 10);
  toy.prefill({kZ});
  for (int i = 0; i < 64; ++i) toy.prefill({kX});
  toy.step({kX});
  const HeadStatistics s = toy.inspect().at(0);
  CHECK(s.prompt_positions == 64);
  CHECK(s.drift == Approx(0).margin(1e-9));
}
