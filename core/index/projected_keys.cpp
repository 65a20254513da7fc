#include "core/index/projected_keys.h"

#include <algorithm>

#include "core/cache/logits.h"

namespace doublep {

void ProjectedKeys::set_basis(MatrixD basis) {
  basis_ = std::move(basis);
  const auto nonzero = static_cast<double>((basis_.array() != 0).count());
  projection_flops_ = nonzero > rank() ? 2 * nonzero : 0;
  labels_.clear(), length_ = 0;
}

void ProjectedKeys::extend(const KvHead& cache) {
  const std::int64_t d = cache.head_dim, first = length_;
  labels_.resize(cache.length * rank());
  constexpr std::int64_t kBlock = 256;  // rows widened at a time
  for (std::int64_t begin = first; begin < cache.length; begin += kBlock) {
    const std::int64_t n = std::min(kBlock, cache.length - begin);
    const MatrixD keys = ConstMapF(cache.key(begin), n, d).cast<double>();
    Eigen::Map<MatrixF>(labels_.data() + begin * rank(), n, rank()) = (keys * basis_).cast<float>();
  }
  length_ = cache.length;
  const auto joined = static_cast<double>(length_ - first);
  build_ += Work{joined * d * bytes_of(dtype_), joined * projection_flops_};
}

MatrixD ProjectedKeys::scores(const QueryGroup& group) const {
  const MatrixD queries = ConstMapF(group.queries, group.size, group.head_dim).cast<double>();
  const MatrixF projected = (queries * basis_).cast<float>();
  QueryGroup view = group;
  view.queries = projected.data(), view.head_dim = static_cast<int>(rank());
  return exact_logits(view, labels_.data(), length_);
}

void ProjectedKeys::charge(GroupSelection& out) const {
  const double n = static_cast<double>(length_), r = static_cast<double>(rank());
  out.charge(Stage::kEstimate, n * r * bytes_of(dtype_), projection_flops_ + 2 * n * r);
}

IndexCost ProjectedKeys::cost() const {
  // The labels, and the directions: vectors of d, or one 4-byte number each where they are
  // channels.
  const double basis = projection_flops_ > 0 ? basis_.size() * bytes_of(dtype_) : 4.0 * rank();
  return {static_cast<double>(labels_.size()) * bytes_of(dtype_) + basis, build_};
}

}  // namespace doublep
