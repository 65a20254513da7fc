#include "core/attention/attend.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/attention/token_block.h"
#include "core/base/error.h"
#include "core/base/matrix.h"
#include "core/cache/logits.h"
#include "core/cost/stages.h"
#include "core/index/cluster_index.h"
#include "core/selection/selection.h"

namespace doublep {
namespace {

// Tokens whose logits are softmaxed at a time: their values, asked for with the keys, fit in cache.
constexpr std::int64_t kBlock = 64;

// Tokens whose weighted values are summed in float32; longer selections are sums of such runs, in
// float64. In one float32 sum the error grows with its length: 1e-3 at a million tokens.
constexpr std::int64_t kRun = 1024;
static_assert(kRun % kBlock == 0);

// One or several heads that attend the same tokens, in blocks; each head keeps a running softmax.
void attend_tokens(const KvHead& cache, const QueryGroup& heads,
                   std::span<const Selection> selections, std::span<SoftmaxState> states,
                   float* output) {
  const auto& tokens = selections[0].tokens;
  const std::int64_t d = cache.value_dim, n = static_cast<std::int64_t>(tokens.size());
  MatrixF weights(heads.size, kBlock);
  Eigen::Map<MatrixF> run(output, heads.size, d);
  MatrixD earlier = MatrixD::Zero(n > kRun ? heads.size : 0, d);  // sums of the runs before
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, n - begin);
    const std::span<const std::int32_t> block(tokens.data() + begin, count);
    block_logits(cache, heads, block, weights.data(), kBlock);
    for (int h = 0; h < heads.size; ++h) {
      auto row = weights.row(h).head(count).array();
      if (!selections[h].log_weights.empty())
        row += Eigen::Map<const Eigen::ArrayXf>(selections[h].log_weights.data() + begin, count)
                   .transpose();
      const double factor = states[h].raise(row.maxCoeff());
      if (factor != 1) {
        run.row(h) *= static_cast<float>(factor);
        if (n > kRun) earlier.row(h) *= factor;
      }
      row = (row - static_cast<float>(states[h].max)).exp();
      states[h].sum += row.cast<double>().sum();
    }
    add_weighted_values(cache, heads.size, block, weights.data(), kBlock, output);
    if (n > kRun && (begin + count) % kRun == 0) {
      earlier += run.cast<double>();
      run.setZero();
    }
  }
  if (n > kRun) run = (earlier + run.cast<double>()).cast<float>();
}

void attend_terms(const Selection& selection, std::int64_t d, SoftmaxState& state, float* output) {
  Eigen::Map<Eigen::RowVectorXf> out(output, d);
  double shift = 0;  // the direction is shared: coefficients are summed, and it is added once
  for (const ClusterTerm& term : selection.terms) {
    const double factor = state.raise(term.log_mass);
    if (factor != 1) out *= static_cast<float>(factor), shift *= factor;
    const double mass = std::exp(term.log_mass - state.max);
    if (!(mass > 0)) continue;
    out += static_cast<float>(mass) * selection.index->mean_values().row(term.cluster);
    shift += mass * term.value_shift;
    state.sum += mass;
  }
  if (!selection.shift.empty() && shift != 0)
    out += static_cast<float>(shift) * ConstRowF(selection.shift.data(), d);
}

bool same_tokens(std::span<const Selection> selections) {
  return std::all_of(selections.begin() + 1, selections.end(),
                     [&](const Selection& s) { return s.tokens == selections[0].tokens; });
}

}  // namespace

void attend(const KvHead& cache, const QueryGroup& group, std::span<const Selection> selections,
            float* output, double* log_sum_exp) {
  const std::int64_t d = cache.value_dim;
  DP_EXPECTS(static_cast<int>(selections.size()) == group.size, "one selection per query head");
  std::fill(output, output + group.size * d, 0.0f);
  std::vector<SoftmaxState> states(group.size);
  if (same_tokens(selections)) {
    attend_tokens(cache, group, selections, states, output);
  } else {
    for (int h = 0; h < group.size; ++h) {
      QueryGroup one = group;
      one.queries = group.query(h), one.size = 1;
      attend_tokens(cache, one, selections.subspan(h, 1), {&states[h], 1}, output + h * d);
    }
  }
  for (int h = 0; h < group.size; ++h) {
    attend_terms(selections[h], d, states[h], output + h * d);
    if (states[h].sum > 0)
      Eigen::Map<Eigen::RowVectorXf>(output + h * d, d) *= static_cast<float>(1 / states[h].sum);
    log_sum_exp[h] = states[h].log_sum_exp();
  }
}

void charge_attend(const QueryGroup& group, int value_dim, KvDtype dtype, GroupSelection& selection,
                   const PackedHead* packed) {
  std::vector<std::int32_t> tokens, terms, clusters;
  bool shifted = false;
  for (const Selection& head : selection.heads) {
    unite(tokens, head.tokens);
    clusters.clear();
    for (const ClusterTerm& term : head.terms) clusters.push_back(term.cluster);
    unite(terms, clusters);
    shifted |= !head.shift.empty();
  }
  double bytes =
      cost::attend_bytes(static_cast<double>(tokens.size()), static_cast<double>(terms.size()),
                         shifted, group.head_dim, value_dim, dtype);
  if (packed) {
    const PackedHead::Read read = packed->read(tokens);
    bytes += cost::packed_bytes(static_cast<double>(read.plain), static_cast<double>(read.pieces),
                                group.head_dim, value_dim);
  }
  for (std::size_t h = 0; h < selection.heads.size(); ++h) {
    const Selection& head = selection.heads[h];
    selection.cost[h][Stage::kAttend] += Work{
        bytes / group.size, cost::attend_flops(static_cast<double>(head.tokens.size()),
                                               static_cast<double>(head.terms.size()),
                                               !head.shift.empty(), group.head_dim, value_dim)};
  }
}

void charge_weighed_keys(std::vector<std::int32_t> tokens, const QueryGroup& group, KvDtype dtype,
                         GroupSelection& selection) {
  std::vector<std::int32_t> attended, beside;
  for (const Selection& head : selection.heads) unite(attended, head.tokens);
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  std::set_difference(tokens.begin(), tokens.end(), attended.begin(), attended.end(),
                      std::back_inserter(beside));
  selection.charge(Stage::kEstimate,
                   static_cast<double>(beside.size()) * group.head_dim * bytes_of(dtype), 0);
}

}  // namespace doublep
