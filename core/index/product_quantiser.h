// Product quantisation of keys (Jegou et al., 2011): a key is cut into parts, each remembered as
// the nearest of 2^bits centroids of that part. A dot product becomes one table look-up per part.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/matrix.h"
#include "core/base/parameters.h"
#include "core/cache/kv_cache.h"
#include "core/cost/stages.h"
#include "core/selection/selection.h"

namespace doublep {

/// `subvectors`, `bits` and `iterations`, as PQCache has them (arXiv 2407.12820).
ParamSpecs quantiser_params();

class ProductQuantiser {
 public:
  ProductQuantiser(const Parameters& parameters, KvDtype dtype)
      : ProductQuantiser(parameters.integer("subvectors"),
                         static_cast<int>(parameters.integer("bits")),
                         static_cast<int>(parameters.integer("iterations")), dtype) {}
  /// `parts` is clipped to head_dim; `bits` in 1 .. 16.
  ProductQuantiser(std::int64_t parts, int bits, int iterations, KvDtype dtype)
      : parts_(parts), bits_(bits), iterations_(iterations), dtype_(dtype) {}

  /// Learns the centroids from these tokens and encodes them.
  void train(const KvHead& cache);
  /// Encodes the tokens that joined since, with the same centroids.
  void extend(const KvHead& cache);

  /// scale q.k' of every token, k' its reconstruction: float64 [group size, tokens].
  MatrixD scores(const QueryGroup& group) const;

  std::int64_t parts() const { return static_cast<std::int64_t>(books_.size()); }
  std::int64_t length() const { return length_; }
  /// Centroids of a part, [at most 2^bits, its dimensions].
  const MatrixF& centroids(std::int64_t part) const { return books_[part]; }
  /// Adds a scan of all codes and centroids to the estimate stage.
  void charge(GroupSelection& out) const;
  double code_bytes() const { return static_cast<double>(length_ * parts() * bits_) / 8; }
  double centroid_bytes() const;
  IndexCost cost() const { return {code_bytes() + centroid_bytes(), build_}; }

 private:
  std::int64_t first(std::int64_t part) const { return part * d_ / parts(); }
  /// Rows [begin, end) of the part's columns.
  MatrixF slice(const KvHead& cache, std::int64_t part, std::int64_t begin) const;

  std::int64_t parts_;
  int bits_, iterations_;
  KvDtype dtype_;
  std::int64_t d_ = 0, length_ = 0;
  std::vector<MatrixF> books_;
  std::vector<std::vector<std::int32_t>> codes_;  // [parts][tokens]
  Work build_;
};

}  // namespace doublep
