#include "core/index/product_quantiser.h"

#include <algorithm>

#include "core/cache/logits.h"
#include "core/index/kmeans.h"

namespace doublep {

MatrixF ProductQuantiser::slice(const KvHead& cache, std::int64_t part, std::int64_t begin) const {
  return ConstMapF(cache.key(begin), cache.length - begin, d_)
      .middleCols(first(part), first(part + 1) - first(part));
}

ParamSpecs quantiser_params() {
  return {within_head_dim(integer("subvectors", 2, "parts a key is cut into", 1)),
          integer("bits", 6, "bits of a part's code: 2^bits centroids", 1, 16),
          integer("iterations", 10, "k-means iterations, from a k-means++ start", 1, 1000)};
}

void ProductQuantiser::train(const KvHead& cache) {
  d_ = cache.head_dim;
  books_.resize(std::min(parts_, d_));
  codes_.assign(books_.size(), {});
  length_ = 0;
  KmeansOptions options;
  options.clusters = std::int64_t{1} << bits_;
  options.iterations = iterations_;
  options.init = KmeansOptions::Init::kPlusPlus;
  for (std::int64_t part = 0; part < parts(); ++part) {
    const KmeansResult found = kmeans(slice(cache, part, 0), options);
    books_[part] = found.centroids;
    build_ += Work{found.work.bytes / 4 * bytes_of(dtype_), found.work.flops};
  }
  extend(cache);
}

void ProductQuantiser::extend(const KvHead& cache) {
  if (cache.length == length_) return;
  const double joined = static_cast<double>(cache.length - length_);
  for (std::int64_t part = 0; part < parts(); ++part) {
    const auto codes = assign_nearest(slice(cache, part, length_), books_[part]);
    codes_[part].insert(codes_[part].end(), codes.begin(), codes.end());
    build_.flops += joined * 3 * static_cast<double>(books_[part].size());
  }
  build_.bytes += joined * d_ * bytes_of(dtype_);
  length_ = cache.length;
}

MatrixD ProductQuantiser::scores(const QueryGroup& group) const {
  MatrixD scores = MatrixD::Zero(group.size, length_);
  const ConstMapF queries(group.queries, group.size, group.head_dim);
  for (std::int64_t part = 0; part < parts(); ++part) {
    const MatrixF cut = queries.middleCols(first(part), books_[part].cols());
    QueryGroup view = group;
    view.queries = cut.data(), view.head_dim = static_cast<int>(cut.cols());
    const MatrixD table = exact_logits(view, books_[part].data(), books_[part].rows());
    for (int h = 0; h < group.size; ++h)
      for (std::int64_t j = 0; j < length_; ++j) scores(h, j) += table(h, codes_[part][j]);
  }
  return scores;
}

void ProductQuantiser::charge(GroupSelection& out) const {
  double table_flops = 0;
  for (const MatrixF& book : books_) table_flops += 2.0 * static_cast<double>(book.size());
  out.charge(Stage::kEstimate, centroid_bytes() + code_bytes(),
             table_flops + static_cast<double>(parts() * length_));
}

double ProductQuantiser::centroid_bytes() const {
  double elements = 0;
  for (const MatrixF& book : books_) elements += static_cast<double>(book.size());
  return elements * bytes_of(dtype_);
}

}  // namespace doublep
