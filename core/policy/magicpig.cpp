// MagicPIG: tokens that share the query's hash in at least two tables, each weighted by one over
// the probability of that (arXiv 2410.16179). Keys are hashed after their mean over the prompt is
// taken off, which leaves the softmax as it is; queries are hashed as they are. As in the public
// code, the prompt's keys alone are hashed (what is generated since is attended exactly, with the
// window), no weight exceeds 1e4, and one matrix of hyperplanes serves every layer and head:
// nothing of it is charged to a KV head or a step.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/index/sim_hash.h"
#include "core/policy/exact_zone.h"
#include "core/policy/registry.h"

namespace doublep {
namespace {

constexpr std::uint64_t kHyperplanes = 0x4D50;  // their random stream
constexpr double kLeast = 1e-4;                 // probability of being found, for a weight

class MagicPig final : public Policy {
 public:
  MagicPig(const Parameters& p, const PolicyContext& context)
      : bits_(static_cast<int>(p.integer("bits"))),
        tables_(static_cast<int>(p.integer("tables"))),
        sink_(p.integer("sink")),
        window_(p.integer("window")),
        context_(context) {}

  void prefill(const KvHead& cache) override {
    hash_ = SimHash(bits_, tables_, cache.head_dim, CounterRng(context_.seed, kHyperplanes));
    Eigen::RowVectorXd mean = Eigen::RowVectorXd::Zero(cache.head_dim);
    for (std::int64_t j = 0; j < cache.length; ++j)
      mean += ConstRowF(cache.key(j), cache.head_dim).cast<double>();
    mean_ = (mean / static_cast<double>(cache.length)).cast<float>();
    const std::int64_t n = cache.length;
    const MatrixF centred = ConstMapF(cache.keys, n, cache.head_dim).rowwise() - mean_;
    codes_ = hash_.codes(centred);
    for (std::int64_t j = 0; j < n; ++j) norms_.push_back(centred.row(j).cast<double>().norm());
    // Keys are read for their mean, and again to be hashed; a norm is a dot product.
    const double elements = static_cast<double>(n) * cache.head_dim;
    build_ = Work{2 * elements * bytes_of(context_.kv_dtype),
                  n * hash_.flops_per_vector() + 4 * elements};
  }

  // A 4-byte token per table, in 2^bits buckets with an offset each; a norm per token.
  IndexCost index_cost() const override {
    const double n = static_cast<double>(norms_.size());
    return {4 * tables_ * (n + std::exp2(bits_)) + 4 * n, build_};
  }

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    const auto n = static_cast<std::int64_t>(norms_.size());  // of the prompt
    ExactZone zone = ExactZone::of(sink_, window_, n);
    zone.length = cache.length;
    const auto codes = hash_.codes(ConstMapF(group.queries, group.size, group.head_dim));
    std::vector<std::uint16_t> hits(n);
    double bytes = 0;
    for (int h = 0; h < group.size; ++h) {
      std::fill(hits.begin(), hits.end(), 0);
      for (int t = 0; t < tables_; ++t) {
        const std::uint16_t code = codes[t * group.size + h], *table = codes_.data() + t * n;
        for (std::int64_t j = 0; j < n; ++j) hits[j] += table[j] == code;
      }
      double found = 0;  // entries of the buckets that the query falls into
      for (std::int64_t j = 0; j < n; ++j) found += hits[j];
      bytes += 4 * found + 8.0 * tables_;
      out.cost[h][Stage::kSelect] += Work{0, found};
      take(cache, group, h, zone, hits, out.heads[h]);
    }
    out.charge(Stage::kEstimate, bytes, hash_.flops_per_vector());
  }

 private:
  void take(const KvHead& cache, const QueryGroup& group, int h, const ExactZone& zone,
            const std::vector<std::uint16_t>& hits, Selection& head) const {
    const auto query = ConstRowF(group.query(h), group.head_dim).cast<double>();
    const double norm = query.norm();
    head.target_p = std::numeric_limits<double>::quiet_NaN();
    for (std::int64_t j = 0; j < cache.length; ++j) {
      double probability = 1;
      if (!zone.contains(j)) {
        if (hits[j] < 2) continue;
        const double scale = norm * norms_[j];
        const double dot =
            query.dot((ConstRowF(cache.key(j), group.head_dim) - mean_).cast<double>());
        probability = two_collisions(scale > 0 ? dot / scale : 0, bits_, tables_);
      }
      head.tokens.push_back(static_cast<std::int32_t>(j));
      head.log_weights.push_back(static_cast<float>(-std::log(std::max(probability, kLeast))));
    }
  }

  int bits_, tables_;
  std::int64_t sink_, window_;
  PolicyContext context_;
  SimHash hash_;
  Eigen::RowVectorXf mean_;
  std::vector<std::uint16_t> codes_;  // [tables, tokens of the prompt]
  std::vector<double> norms_;         // of the centred keys
  Work build_;
};

}  // namespace

PolicyInfo magicpig_policy() {
  return describe<MagicPig>(
      "magicpig", "attends the tokens that collide with the query in two hash tables, weighted",
      "MagicPIG, arXiv 2410.16179",
      join({{integer("bits", 10, "hyperplanes a table (K)", 1, 16),
             integer("tables", 150, "hash tables (L)", 2, 65535)},
            exact_zone_params()}),
      {.search = SearchKind::kCodes});
}

}  // namespace doublep
