#include "core/index/page_index.h"

#include "core/cache/logits.h"
#include "core/cost/stages.h"

namespace doublep {

void PageIndex::extend(const KvHead& cache) {
  const std::int64_t d = cache.head_dim, joined = cache.length - length_;
  const std::int64_t pages = (cache.length + page_size_ - 1) / page_size_;
  minima_.conservativeResize(pages, d);
  maxima_.conservativeResize(pages, d);
  for (std::int64_t j = length_; j < cache.length; ++j) {
    const ConstRowF key(cache.key(j), d);
    const std::int64_t page = j / page_size_;
    if (j == begin(page)) {
      minima_.row(page) = maxima_.row(page) = key;
    } else {
      minima_.row(page) = minima_.row(page).cwiseMin(key);
      maxima_.row(page) = maxima_.row(page).cwiseMax(key);
    }
  }
  length_ = cache.length;
  build_ += cost::page_extremes(static_cast<double>(joined), cache.head_dim, dtype_);
}

MatrixD PageIndex::upper_bounds(const QueryGroup& group) const {
  // max(q min, q max) is q max where q > 0 and q min elsewhere: two products of clipped queries.
  const ConstMapF queries(group.queries, group.size, group.head_dim);
  const MatrixF positive = queries.cwiseMax(0.0f), negative = queries.cwiseMin(0.0f);
  QueryGroup rising = group, falling = group;
  rising.queries = positive.data(), falling.queries = negative.data();
  return exact_logits(rising, maxima_.data(), num_pages()) +
         exact_logits(falling, minima_.data(), num_pages());
}

}  // namespace doublep
