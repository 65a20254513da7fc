// A decoder-only transformer's shape: what its weights and its KV cache weigh, and which matrix
// products a layer is made of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/cost/stages.h"

namespace doublep::sim {

struct Model {
  std::string name, title, source;  ///< source: where the shape stands
  int layers = 0, query_heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t hidden = 0, ffn = 0, vocabulary = 0;
  bool tied = false;  ///< the output head is the embedding
  KvDtype weights = KvDtype::kBf16;

  int group_size() const { return query_heads / kv_heads; }
  /// Matrix weights of one layer (norms are left out: below 0.01 %).
  double layer_parameters() const;
  /// All of them, embedding and head included.
  double parameters() const;
  double weight_bytes() const { return parameters() * bytes_of(weights); }
  /// KV heads on one device: all of a head, so that more devices than heads hold copies.
  int kv_heads_on_device(int degree) const;
};

/// y[m, n] = x[m, k] W[k, n].
struct Gemm {
  std::string name;
  std::int64_t n, k;
};
/// The products of one layer on one of `degree` tensor-parallel devices: q, k and v in one, o, gate
/// and up in one, down.
std::vector<Gemm> layer_gemms(const Model& model, int degree);
/// The output head, its vocabulary split.
Gemm head_gemm(const Model& model, int degree);

}  // namespace doublep::sim
