// Quest: the pages whose keys could score highest with the query (arXiv 2406.10774). Pages lie on a
// grid from token 0 over all visible keys, the last one as far as it is filled; a page that sink or
// window cover too still counts as one of the top pages.
#include <limits>

#include "core/cost/stages.h"
#include "core/index/page_index.h"
#include "core/policy/exact_zone.h"
#include "core/policy/registry.h"
#include "core/selection/top_p.h"

namespace doublep {
namespace {

class Quest final : public Policy {
 public:
  Quest(const Parameters& p, const PolicyContext& context)
      : pages_(p.integer("page_size"), context.kv_dtype),
        budget_(p.budget("budget")),
        page_size_(p.integer("page_size")),
        sink_(p.integer("sink")),
        window_(p.integer("window")),
        dtype_(context.kv_dtype) {}

  void prefill(const KvHead& cache) override { pages_.extend(cache); }
  void append(const KvHead& grown) override { pages_.extend(grown); }
  IndexCost index_cost() const override { return pages_.cost(); }

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    const MatrixD scores = pages_.upper_bounds(group);
    const std::int64_t n = pages_.num_pages(), k = budget_.pages(cache.length, page_size_);
    const double pages = static_cast<double>(n);
    out.charge(Stage::kEstimate, cost::bound_pages(pages, group.head_dim, dtype_));
    out.charge_heads(Stage::kSelect, cost::pick(pages));
    const ExactZone zone = ExactZone::of(sink_, window_, cache.length);
    for (int h = 0; h < group.size; ++h) {
      auto& tokens = out.heads[h].tokens;
      const auto top = top_k({scores.row(h).data(), static_cast<std::size_t>(n)}, k);
      for (std::int64_t j = 0; j < zone.sink_end; ++j) tokens.push_back(static_cast<int>(j));
      for (std::int32_t page : top)
        for (std::int64_t j = pages_.begin(page); j < pages_.end(page); ++j)
          if (!zone.contains(j)) tokens.push_back(static_cast<int>(j));
      for (std::int64_t j = zone.tail_begin; j < zone.length; ++j)
        tokens.push_back(static_cast<int>(j));
      out.heads[h].target_p = std::numeric_limits<double>::quiet_NaN();
    }
  }

 private:
  PageIndex pages_;
  Budget budget_;
  std::int64_t page_size_, sink_, window_;
  KvDtype dtype_;
};

}  // namespace

PolicyInfo quest_policy() {
  PolicyInfo info = describe<Quest>(
      "quest", "attends the pages of highest upper bound on a key's score, sink and window",
      "Quest, arXiv 2406.10774",
      join({{budget("budget", Budget::count(1024), "tokens of the top pages, in whole pages"),
             integer("page_size", 16, "tokens a page", 1)},
            exact_zone_params()}),
      {.search = SearchKind::kPages, .grows = true});
  info.check = [](const Parameters& p) {
    const Budget budget = p.budget("budget");
    const std::int64_t page = p.integer("page_size");
    if (!budget.is_share && budget.value > 0 && budget.value < static_cast<double>(page))
      throw ParameterError(
          "budget", concat("policy quest: budget is ", budget.value, ", less than a page of ", page,
                           " tokens; raise it, lower page_size, or 0 for none"));
  };
  return info;
}

}  // namespace doublep
