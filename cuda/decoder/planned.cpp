#include "cuda/decoder/planned.h"

#include "core/base/error.h"
#include "core/cache/packed_head.h"

namespace doublep::cuda {

void check_room(const Plan& plan, std::int64_t items, std::int64_t room) {
  if (plan.ranked() && items > room)
    fail_input("backend cuda: a KV head of ", items, " clusters, expected at most ", room,
               " on this device with stop ", plan.by_error() ? "error" : "share or tokens",
               "; raise tokens_per_cluster, set stop to mass, or use backend: cpu");
}

std::unique_ptr<ItemIndex> make_index(const Plan& plan, const Cache& cache, std::int64_t items) {
  if (plan.index.items == IndexPlan::Items::kNone) return nullptr;
  if (plan.ranked()) check_room(plan, items, ranked_room(plan.rule()));
  return std::make_unique<ItemIndex>(cache, items, true, plan.twilight());
}

void set_budgets(const Plan& plan, const Cache& cache, const ItemIndex* index, int sequence,
                 std::int64_t length, std::int64_t items, DecodeStep& step) {
  if (plan.stop.rule == StopPlan::Rule::kMass || plan.ranked()) return;
  if (plan.stop.rule != StopPlan::Rule::kOccupied) {
    const auto [kept, refined] = plan.budgets(length, items, items);
    return step.set_budget(sequence, kept, refined);
  }
  const int heads = cache.shape().kv_heads;
  for (int pair = sequence * heads; pair < (sequence + 1) * heads; ++pair) {
    const auto [kept, refined] = plan.budgets(length, items, index->occupied(pair));
    step.set_pair_budget(pair, kept, refined);
  }
}

Touched touched_by(const Plan& plan, const StepWork& work, int group, const ExactZone& zone,
                   std::int64_t items) {
  Touched t;
  t.length = static_cast<double>(zone.length), t.zone = static_cast<double>(zone.size());
  t.items = static_cast<double>(items), t.heads.resize(group);
  const auto add = [&](double Touched::Head::*what, double Touched::*all, double count,
                       std::uint32_t mask) {
    t.*all += count;
    for (int h = 0; h < group; ++h)
      if (mask >> h & 1) t.heads[h].*what += count;
  };
  using Head = Touched::Head;
  if (plan.step.kind == StepKind::kDense) {
    add(&Head::tokens, &Touched::tokens, t.length, ~0u);
    t.plain = static_cast<double>(zone.length % kPackedBlock);
    t.pieces = (t.length - t.plain) / static_cast<double>(kPackedPiece);
  }
  for (const Run& run : work.runs) {
    add(&Head::tokens, &Touched::tokens, run.meta & 0xFF, run.meta >> 8);
    const bool packed = run.row >= zone.sink_end && run.row < zone.tail_begin;
    (packed ? t.pieces : t.plain) += packed ? 1 : run.meta & 0xFF;
  }
  for (const std::uint32_t token : work.tokens)
    add(&Head::tokens, &Touched::tokens, 1, token >> kIdBits);
  for (const std::uint32_t term : work.terms)
    add(&Head::terms, &Touched::terms, 1, term >> kIdBits);
  for (const Run& run : work.candidate_runs)
    add(&Head::candidates, &Touched::candidates, run.meta & 0xFF, run.meta >> 8);
  return t;
}

void charge_step(const Plan& plan, const Touched& t, int head_dim, KvDtype dtype,
                 GroupSelection& out) {
  const auto group = static_cast<double>(out.cost.size());
  if (plan.pages()) {
    out.charge(Stage::kEstimate, cost::bound_pages(t.items, head_dim, dtype));
    out.charge_heads(Stage::kSelect, cost::pick(t.items));
  }
  if (plan.twilight()) {
    out.charge(Stage::kEstimate,
               {t.candidates * cost::quantised_key_bytes(head_dim, kQuantisedBits), 0});
    for (std::size_t h = 0; h < t.heads.size(); ++h) {
      const double own = t.heads[h].candidates;
      out.cost[h][Stage::kEstimate] += Work{0, cost::weigh_quantised_flops(own, head_dim)};
      out.cost[h][Stage::kSelect] += cost::order(own);
    }
  }
  if (plan.clustered()) {
    Work estimate = cost::weigh_clusters(t.items, head_dim, dtype);
    if (plan.step.estimator == MassEstimate::kSecondOrder)
      estimate += cost::correct_by_variance(t.items);
    if (plan.pooled()) estimate += cost::correct_by_shape(t.items, head_dim, dtype);
    out.charge(Stage::kEstimate, estimate);
    if (plan.ranked())
      out.charge(Stage::kEstimate, cost::term_errors(t.items, t.zone, head_dim, dtype));
    const bool ordered = plan.stop.rule == StopPlan::Rule::kMass || plan.ranked();
    out.charge_heads(Stage::kSelect, plan.step.rank_without_size
                                         ? cost::order_of_group(t.items, group)
                                     : ordered ? cost::order(t.items)
                                               : cost::pick(t.items));
    if (plan.mass_with_zone)
      out.charge(Stage::kEstimate, cost::weigh_keys(t.zone, head_dim, dtype));
  }
  const bool shifted = plan.step.value_shift;
  out.charge(Stage::kAttend, {cost::attend_bytes(t.tokens, t.terms, shifted && t.terms > 0,
                                                 head_dim, head_dim, dtype),
                              0});
  if (plan.fp8)
    out.charge(Stage::kAttend, {cost::packed_bytes(t.plain, t.pieces, head_dim, head_dim), 0});
  for (std::size_t h = 0; h < t.heads.size(); ++h) {
    const double terms = t.heads[h].terms;
    out.cost[h][Stage::kAttend] += Work{
        0, cost::attend_flops(t.heads[h].tokens, terms, shifted && terms > 0, head_dim, head_dim)};
  }
}

}  // namespace doublep::cuda
