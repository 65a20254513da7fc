#include "core/index/projected_keys.h"

#include <algorithm>

#include "core/base/symmetric_eigen.h"
#include "core/cache/logits.h"
#include "core/cost/stages.h"
#include "core/index/quantiser.h"

namespace doublep {

MatrixD principal_components(const Eigen::Ref<const MatrixF>& rows, Eigen::Index rank) {
  const Eigen::Index n = rows.rows(), d = rows.cols();
  constexpr Eigen::Index kBlock = 256;  // rows widened at a time
  Eigen::RowVectorXd mean = Eigen::RowVectorXd::Zero(d);
  for (Eigen::Index j = 0; j < n; ++j) mean += rows.row(j).cast<double>();
  mean /= static_cast<double>(std::max<Eigen::Index>(n, 1));
  MatrixD covariance = MatrixD::Zero(d, d);
  for (Eigen::Index begin = 0; begin < n; begin += kBlock) {
    const Eigen::Index count = std::min(kBlock, n - begin);
    const MatrixD centred = rows.middleRows(begin, count).cast<double>().rowwise() - mean;
    covariance.noalias() += centred.transpose() * centred;
  }
  // The largest eigenvalues are the last.
  return symmetric_eigen(covariance).vectors.rightCols(std::min(rank, d)).rowwise().reverse();
}

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
  std::vector<std::uint8_t> codes(bits_ > 0 ? rank() : 0);
  for (std::int64_t j = first; j < cache.length && bits_ > 0; ++j) {
    float* label = labels_.data() + j * rank();
    const RowScale scale = quantise_row(label, rank(), bits_, codes.data());
    for (std::int64_t i = 0; i < rank(); ++i)
      label[i] = scale.low + scale.step * static_cast<float>(codes[i]);
  }
  length_ = cache.length;
  const auto joined = static_cast<double>(length_ - first);
  const double quantising = bits_ > 0 ? 4.0 * static_cast<double>(rank()) : 0;
  build_ += Work{joined * d * bytes_of(dtype_), joined * (projection_flops_ + quantising)};
}

MatrixD ProjectedKeys::scores(const QueryGroup& group) const {
  const MatrixD queries = ConstMapF(group.queries, group.size, group.head_dim).cast<double>();
  const MatrixF projected = (queries * basis_).cast<float>();
  QueryGroup view = group;
  view.queries = projected.data(), view.head_dim = static_cast<int>(rank());
  return exact_logits(view, labels_.data(), length_);
}

void ProjectedKeys::charge(GroupSelection& out) const {
  // Two more operations an element where it has to be widened first.
  const double n = static_cast<double>(length_), r = static_cast<double>(rank());
  out.charge(Stage::kEstimate, n * label_bytes(), projection_flops_ + (bits_ > 0 ? 4 : 2) * n * r);
}

IndexCost ProjectedKeys::cost() const {
  // The labels, and the directions: vectors of d, or one 4-byte number each where they are
  // channels.
  const double basis = projection_flops_ > 0 ? basis_.size() * bytes_of(dtype_) : 4.0 * rank();
  return {static_cast<double>(length_) * label_bytes() + basis, build_};
}

double ProjectedKeys::label_bytes() const {
  return bits_ > 0 ? cost::quantised_key_bytes(static_cast<int>(rank()), bits_)
                   : static_cast<double>(rank()) * bytes_of(dtype_);
}

}  // namespace doublep
