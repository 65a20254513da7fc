// A decoder-only transformer's shape: what its weights and its KV cache weigh, and which matrix
// products it is made of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/model/storage.h"

namespace doublep::sim {

/// A mixture of experts instead of one MLP: each token goes through `active` of `count` experts,
/// and through the shared ones.
struct Experts {
  int count = 0, active = 0;
  std::int64_t ffn = 0;         ///< inner width of one expert
  std::int64_t shared_ffn = 0;  ///< of all shared experts together; 0: none
  int dense_layers = 0;         ///< the first so many layers have one MLP, of width Model::ffn
};

/// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): the cache holds one vector of
/// rank + rope elements a token and layer for all query heads. In decoding the up-projections are
/// folded into queries and outputs, so that a query head's key is the whole vector and its value
/// the first `rank` elements of it: one KV head, whose values are a part of its keys.
struct Latent {
  int rank = 0;        ///< kv_lora_rank
  int rope = 0;        ///< qk_rope_head_dim
  int nope = 0;        ///< qk_nope_head_dim
  int value = 0;       ///< v_head_dim
  int query_rank = 0;  ///< q_lora_rank; 0: queries are projected at once
};

struct Model {
  std::string name, title, source;  ///< source: where the shape stands
  int layers = 0, query_heads = 0;
  int kv_heads = 0, head_dim = 0;  ///< with `latent`: 1, and 0
  std::int64_t hidden = 0, ffn = 0, vocabulary = 0;
  bool tied = false;  ///< the output head is the embedding
  Storage weights;    ///< of the layers' products, and of the rest where it is no integer
  std::optional<Experts> experts;
  std::optional<Latent> latent;

  int group_size() const { return query_heads / kv_heads; }
  /// Elements of a cached key and value as a query head meets them in decoding.
  int key_dim() const { return latent ? latent->rank + latent->rope : head_dim; }
  int value_dim() const { return latent ? latent->rank : head_dim; }
  /// Bytes of one token of one KV head in one layer, scales included: of fp8 a pair of them every
  /// kPackedPiece tokens (core/cost/stages.h).
  double token_bytes(const Storage& kv) const;
  /// Matrix weights of all layers (norms are left out: below 0.01 %), every expert's.
  double stack_parameters() const;
  /// Of which one token multiplies.
  double active_parameters() const;
  /// All of them, embedding and head included.
  double parameters() const;
  double weight_bytes() const;
  /// KV heads on one device: all of a head, so that more devices than heads hold copies.
  int kv_heads_on_device(int degree) const;
};

/// y[m, n] = x[m, k] W[k, n] in `layers` layers; of `experts` such products each row takes
/// `active`.
struct Gemm {
  std::string name;
  std::int64_t n = 0, k = 0;
  int layers = 1;
  Storage storage;
  int experts = 1, active = 1;
};
/// The products of all layers on one of `degree` tensor-parallel devices. Attention: q, k and v in
/// one, o; of a latent cache q (or its two factors), the latent, its up-projection, o. MLP: gate
/// and up in one, down; of experts the router, both of these, and both of the shared ones.
std::vector<Gemm> layer_gemms(const Model& model, int degree);
/// A name of a product of attention, not of an MLP.
bool is_projection(const Gemm& gemm);
/// The output head, its vocabulary split.
Gemm head_gemm(const Model& model, int degree);

/// How many of `count` experts a batch reads: count (1 - (1 - active/count)^rows), the expected
/// union where every token takes `active` of them at random, all alike. Of experts that some
/// tokens prefer it is less (the term is concave in an expert's share), so this is an upper bound.
double distinct_experts(int count, int active, double rows);

}  // namespace doublep::sim
