// Pages of consecutive tokens with the element-wise minimum and maximum of their keys (Quest,
// arXiv 2406.10774): what a query could at most make of any key of the page.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/base/matrix.h"
#include "core/cache/kv_cache.h"
#include "core/cost/stages.h"

namespace doublep {

class PageIndex {
 public:
  PageIndex(std::int64_t page_size, KvDtype dtype) : page_size_(page_size), dtype_(dtype) {}

  /// Takes in the tokens that joined since the last call; the last page may be partly filled.
  void extend(const KvHead& cache);

  std::int64_t num_pages() const { return minima_.rows(); }
  std::int64_t begin(std::int64_t page) const { return page * page_size_; }
  std::int64_t end(std::int64_t page) const { return std::min(length_, begin(page + 1)); }

  /// scale sum_d max(q_d min_d, q_d max_d): float64 [group size, pages]. Not below the logit of any
  /// token of the page, to rounding.
  MatrixD upper_bounds(const QueryGroup& group) const;

  IndexCost cost() const {
    return {cost::page_memory(static_cast<double>(num_pages()), static_cast<int>(minima_.cols()),
                              dtype_),
            build_};
  }

 private:
  std::int64_t page_size_, length_ = 0;
  KvDtype dtype_;
  MatrixF minima_, maxima_;  // [pages, d]
  Work build_;
};

}  // namespace doublep
