#include "core/index/sim_hash.h"

#include <algorithm>
#include <cmath>

namespace doublep {

SimHash::SimHash(int bits, int tables, int head_dim, const CounterRng& rng)
    : bits_(bits), tables_(tables), planes_(bits * tables, head_dim) {
  for (Eigen::Index i = 0; i < planes_.size(); ++i)
    planes_.data()[i] = static_cast<float>(rng.normal(i));
  norms_ = planes_.rowwise().norm();
}

std::vector<std::uint16_t> SimHash::codes(const Eigen::Ref<const MatrixF>& vectors) const {
  const Eigen::Index n = vectors.rows(), d = vectors.cols();
  std::vector<std::uint16_t> codes(static_cast<std::size_t>(n * tables_), 0);
  constexpr Eigen::Index kBlock = 64;
  // A float32 dot product of length d errs by about sqrt(d) roundings; this is generous.
  const float doubt = 8.0f * std::sqrt(static_cast<float>(d)) * 0x1.0p-24f;
  MatrixF dots;
  for (Eigen::Index begin = 0; begin < n; begin += kBlock) {
    const Eigen::Index rows = std::min(kBlock, n - begin);
    dots.noalias() = vectors.middleRows(begin, rows) * planes_.transpose();
    for (Eigen::Index r = 0; r < rows; ++r) {
      const auto vector = vectors.row(begin + r);
      const float norm = vector.norm();
      for (Eigen::Index i = 0; i < planes_.rows(); ++i) {
        bool above = dots(r, i) >= 0;
        if (!(std::abs(dots(r, i)) > doubt * norm * norms_[i]))
          above = vector.cast<double>().dot(planes_.row(i).cast<double>()) >= 0;
        auto& code = codes[static_cast<std::size_t>(i / bits_ * n + begin + r)];
        code = static_cast<std::uint16_t>(code << 1 | (above ? 1 : 0));
      }
    }
  }
  return codes;
}

double two_collisions(double cosine, int bits, int tables) {
  const double agree = 1 - std::acos(std::clamp(cosine, -1.0, 1.0)) / 3.141592653589793;
  const double same = std::pow(agree, bits);  // one table
  const double none = std::pow(1 - same, tables);
  const double one = same < 1 ? tables * same * std::pow(1 - same, tables - 1) : 0;
  return std::max(0.0, tables > 1 ? 1 - none - one : 0.0);
}

}  // namespace doublep
