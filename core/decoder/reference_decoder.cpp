#include "core/decoder/reference_decoder.h"

#include <algorithm>

#include "core/attention/attend.h"
#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/index/cluster_index.h"

namespace doublep {

ReferenceDecoder::ReferenceDecoder(const PolicyInfo& policy, const Parameters& parameters,
                                   const PolicyContext& context)
    : info_(policy), parameters_(parameters), context_(context) {}

void ReferenceDecoder::prefill(const KvCacheView& cache) {
  DP_EXPECTS(heads_.empty(), "a decoder is prefilled once");
  DP_EXPECTS(cache.num_kv_heads > 0 && cache.head_dim > 0 && cache.length <= cache.capacity,
             "a cache has heads, dimensions, and no more visible tokens than rows");
  check_fits(info_, parameters_, cache.head_dim);
  cache_ = cache;
  for (int h = 0; h < cache.num_kv_heads; ++h) {
    PolicyContext context = context_;
    context.kv_head = context_.kv_head + h;
    heads_.push_back(info_.create(parameters_, context));
  }
  if (context_.kv_dtype == KvDtype::kFp8) stored_.resize(cache.num_kv_heads);
  parallel_for(cache.num_kv_heads, [&](std::int64_t h) {
    heads_[h]->prefill(cache.head(h));
    store(h);
  });
  for (const auto& head : heads_) charged_.push_back(head->index_cost().build);
}

void ReferenceDecoder::append(const KvCacheView& grown) {
  DP_EXPECTS(!heads_.empty() && grown.length >= cache_.length && grown.length <= grown.capacity &&
                 grown.num_kv_heads == cache_.num_kv_heads && grown.head_dim == cache_.head_dim &&
                 grown.value_dim == cache_.value_dim,
             "append continues the cache that prefill saw");
  cache_ = grown;
  parallel_for(grown.num_kv_heads, [&](std::int64_t h) {
    heads_[h]->append(grown.head(h));
    store(h);
  });
}

void ReferenceDecoder::store(std::int64_t h) {
  if (stored_.empty()) return;
  auto& [rows, clusters] = stored_[h];
  const auto now = heads_[h]->stored_clusters();
  const bool anew = now && now != clusters;
  if (anew) rows.unpack();
  rows.extend(cache_.head(static_cast<int>(h)));
  if (!now) return rows.pack_in_order();
  if (anew)
    for (std::int64_t c = 0; c < now->num_clusters(); ++c) rows.pack(now->members(c));
  clusters = now;
}

StepResult ReferenceDecoder::step(const QueryBlock& queries, Detail detail) {
  const int num_kv_heads = cache_.num_kv_heads, num_heads = queries.num_query_heads;
  DP_EXPECTS(!heads_.empty() && num_heads > 0 && num_heads % num_kv_heads == 0,
             "step after prefill, whole groups");
  DP_EXPECTS(queries.head_dim == cache_.head_dim, "queries have the keys' dimensions");
  const int group_size = num_heads / num_kv_heads;
  StepResult result;
  result.output.resize(static_cast<std::size_t>(num_heads) * cache_.value_dim);
  result.log_sum_exp.resize(num_heads);
  result.cost.resize(num_heads);
  if (detail != Detail::kOutput) result.counts.resize(num_heads);
  if (detail == Detail::kSelections) result.selections.resize(num_heads);
  std::vector<std::vector<MassAudit>> audits(num_kv_heads);
  parallel_for(num_kv_heads, [&](std::int64_t h) {
    const QueryGroup group = queries.group(static_cast<int>(h), num_kv_heads);
    const PackedHead* packed = stored_.empty() ? nullptr : &stored_[h].rows;
    KvHead cache = cache_.head(static_cast<int>(h));
    if (packed) cache = packed->stored(cache);
    GroupSelection chosen(group_size);
    heads_[h]->select(cache, group, chosen);
    const std::int64_t first = h * group_size;
    attend(cache, group, chosen.heads, result.output.data() + first * cache_.value_dim,
           result.log_sum_exp.data() + first);
    charge_attend(group, cache_.value_dim, context_.kv_dtype, chosen, packed);
    // Building the first index is the prompt's cost (index_cost); rebuilding is this step's.
    const Work built = heads_[h]->index_cost().build;
    chosen.charge(Stage::kIndex, built.bytes - charged_[h].bytes,
                  (built.flops - charged_[h].flops) / group_size);
    charged_[h] = built;
    std::copy(chosen.cost.begin(), chosen.cost.end(), result.cost.begin() + first);
    audits[h] = std::move(chosen.audits);
    if (detail != Detail::kOutput)
      std::transform(chosen.heads.begin(), chosen.heads.end(), result.counts.begin() + first,
                     [](const Selection& head) {
                       return ReadCounts{static_cast<std::int64_t>(head.tokens.size()),
                                         static_cast<std::int64_t>(head.terms.size())};
                     });
    if (detail == Detail::kSelections)
      std::move(chosen.heads.begin(), chosen.heads.end(), result.selections.begin() + first);
  });
  for (auto& group : audits) result.audits.insert(result.audits.end(), group.begin(), group.end());
  DP_EXPECTS(result.audits.empty() || static_cast<int>(result.audits.size()) == num_heads,
             "every KV head audits, or none");
  return result;
}

IndexCost ReferenceDecoder::index_cost() const {
  IndexCost total;
  for (const auto& head : heads_) {
    const IndexCost cost = head->index_cost();
    total.memory_bytes += cost.memory_bytes, total.build += cost.build;
  }
  return total;
}

}  // namespace doublep
