#include "core/policy/kind_promise.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/attention/attend.h"
#include "core/cost/stages.h"

namespace doublep {
namespace {

MatrixD outputs_of(const KvHead& cache, const QueryGroup& group, const GroupSelection& out) {
  MatrixF output(group.size, cache.value_dim);
  std::vector<double> log_sums(group.size);
  attend(cache, group, out.heads, output.data(), log_sums.data());
  return output.cast<double>();
}

}  // namespace

double next_rung(double tokens, double most) {
  const double next = tokens < kFirstRung ? kFirstRung : std::ceil(tokens * kRungRatio);
  return next > most / 2 ? most : next;
}

Ladder Ladder::of(double most) {
  Ladder ladder{0, 1};
  for (double n = 0; n < most; n = next_rung(n, most)) ladder.tokens += n, ++ladder.rungs;
  return ladder;
}

double promised_tokens(KindStep& step, HeadKind kind, int unit, const VectorD& factors,
                       double error) {
  if (kind == HeadKind::kFlat || kind == HeadKind::kDense) return 0;
  const VectorD mine = factors.segment(unit * step.rows(), step.rows());
  for (double wanted = 0;; wanted = next_rung(wanted, step.tokens()))
    if (wanted >= step.tokens() ||
        mine.cwiseProduct(step.predicted(kind, unit, wanted)).maxCoeff() <= error)
      return wanted;
}

KindPromise::KindPromise(const PromiseOptions& options, double error) : error_(error) {
  for (HeadKind kind : {HeadKind::kClusters, HeadKind::kTokens})
    learnt_.emplace(kind, Learnt{ErrorPromise(options, error), {}});
}

void KindPromise::learn(KindStep& step, const KvHead& cache, const QueryGroup& group,
                        KvDtype dtype) {
  units_ = step.units(), rows_ = step.rows();
  GroupSelection all(group.size);
  for (int u = 0; u < units_; ++u) step.attend(HeadKind::kDense, u, 0, all);
  const MatrixD dense = outputs_of(cache, group, all);
  const VectorD lengths = dense.rowwise().norm().cwiseMax(1e-300);
  dense_bytes_.push_back(cost::attend_bytes(static_cast<double>(cache.length), 0, false,
                                            cache.head_dim, cache.value_dim, dtype) /
                         units_);
  const auto rungs = static_cast<Eigen::Index>(Ladder::of(step.tokens()).rungs);
  for (auto& [kind, learnt] : learnt_) {
    Climb climb{MatrixD(group.size, rungs), MatrixD(units_, rungs)};
    MatrixD errors = MatrixD::Zero(group.size, rungs);  // of all tokens none
    double wanted = 0;
    for (Eigen::Index i = 0; i < rungs; ++i, wanted = next_rung(wanted, step.tokens())) {
      GroupSelection out(group.size);
      step.charge(std::vector<HeadKind>(static_cast<std::size_t>(units_), kind), out);
      for (int u = 0; u < units_; ++u) {
        climb.predicted.col(i).segment(u * rows_, rows_) = step.predicted(kind, u, wanted);
        step.attend(kind, u, wanted, out);
      }
      step.finish(out);
      charge_attend(group, cache.value_dim, dtype, out);
      if (i + 1 < rungs)
        errors.col(i) =
            (outputs_of(cache, group, out) - dense).rowwise().norm().cwiseQuotient(lengths);
      for (int u = 0; u < units_; ++u) {
        climb.bytes(u, i) = 0;
        for (int h = u * rows_; h < (u + 1) * rows_; ++h)
          for (const Work& stage : out.cost[h].stages) climb.bytes(u, i) += stage.bytes;
      }
    }
    // Nothing is forced: every rung attends what has to be.
    learnt.promise.learn(climb.predicted, errors, std::vector<RefinementOrder>(units_));
    learnt.climbs.push_back(std::move(climb));
  }
}

KindPromise::Price KindPromise::price(const Learnt& learnt, const VectorD& factors,
                                      int unit) const {
  Price price;
  const VectorD mine = factors.segment(unit * rows_, rows_);
  for (const Climb& climb : learnt.climbs) {
    Eigen::Index i = 0;
    while (i + 1 < climb.bytes.cols() &&
           climb.predicted.col(i).segment(unit * rows_, rows_).cwiseProduct(mine).maxCoeff() >
               error_)
      ++i;
    price.flat &= i == 0;
    price.bytes += climb.bytes(unit, i) / static_cast<double>(learnt.climbs.size());
  }
  return price;
}

KindPromise::Chosen KindPromise::choose() const {
  Chosen chosen{{}, VectorD::Ones(units_ * rows_)};
  std::map<HeadKind, VectorD> factors;
  for (const auto& [kind, learnt] : learnt_) factors[kind] = learnt.promise.factors(units_ * rows_);
  const double dense = std::accumulate(dense_bytes_.begin(), dense_bytes_.end(), 0.0) /
                       static_cast<double>(dense_bytes_.size());
  for (int u = 0; u < units_; ++u) {
    HeadKind best = HeadKind::kDense;
    double least = dense;
    for (const auto& [kind, learnt] : learnt_) {
      const Price found = price(learnt, factors[kind], u);
      if (found.bytes >= least) continue;
      least = found.bytes, best = found.flat ? HeadKind::kFlat : kind;
      chosen.factors.segment(u * rows_, rows_) = factors[kind].segment(u * rows_, rows_);
    }
    chosen.kinds.push_back(best);
  }
  return chosen;
}

}  // namespace doublep
