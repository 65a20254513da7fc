#include "sim/model/model.h"

#include <algorithm>
#include <cmath>

#include "core/cost/stages.h"

namespace doublep::sim {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

void add_attention(const Model& m, int degree, std::vector<Gemm>& all) {
  const std::int64_t heads = divide_up(m.query_heads, degree);
  const auto add = [&](const char* name, std::int64_t n, std::int64_t k) {
    all.push_back({name, n, k, m.layers, m.weights});
  };
  if (!m.latent) {
    const std::int64_t q = heads * m.head_dim;
    const std::int64_t kv = 2ll * m.kv_heads_on_device(degree) * m.head_dim;
    add("qkv", q + kv, m.hidden);
    add("o", m.hidden, q);
    return;
  }
  const Latent& l = *m.latent;
  const std::int64_t q = heads * (l.nope + l.rope), latent = l.rank + l.rope;
  // What reads the hidden state is one product; its latent part is on every device.
  add("qkv", (l.query_rank > 0 ? l.query_rank : q) + latent, m.hidden);
  if (l.query_rank > 0) add("q_up", q, l.query_rank);
  add("kv_up", heads * (l.nope + l.value), l.rank);
  add("o", m.hidden, heads * l.value);
}

void add_mlp(const Model& m, int degree, std::vector<Gemm>& all) {
  const auto add = [&](const std::string& name, std::int64_t ffn, int layers, int experts,
                       int active) {
    if (ffn <= 0 || layers <= 0) return;
    const std::int64_t inner = divide_up(ffn, degree);
    all.push_back({name + "gate_up", 2 * inner, m.hidden, layers, m.weights, experts, active});
    all.push_back({name + "down", m.hidden, inner, layers, m.weights, experts, active});
  };
  if (!m.experts) return add("", m.ffn, m.layers, 1, 1);
  const Experts& e = *m.experts;
  const int layers = m.layers - e.dense_layers;
  add("", m.ffn, e.dense_layers, 1, 1);
  all.push_back({"router", e.count, m.hidden, layers, m.weights.unquantised()});
  add("experts' ", e.ffn, layers, e.count, e.active);
  add("shared ", e.shared_ffn, layers, 1, 1);
}

template <class F>
double sum_of_gemms(const Model& m, const F& of_one) {
  double sum = 0;
  for (const Gemm& g : layer_gemms(m, 1)) sum += g.layers * of_one(g);
  return sum;
}

}  // namespace

double Model::token_bytes(const Storage& kv) const {
  // A latent's values are a part of its keys: one vector, not two.
  const double bytes = latent ? kv.row_bytes(key_dim()) : 2 * kv.row_bytes(head_dim);
  const double scales = (latent ? 1 : 2) * 4.0 / static_cast<double>(kPackedPiece);
  return bytes + (kv.format == Format::kFp8 ? scales : 0);
}

double Model::stack_parameters() const {
  return sum_of_gemms(*this, [](const Gemm& g) {
    return static_cast<double>(g.experts) * static_cast<double>(g.n) * static_cast<double>(g.k);
  });
}

double Model::active_parameters() const {
  return sum_of_gemms(*this, [](const Gemm& g) {
    return static_cast<double>(g.active) * static_cast<double>(g.n) * static_cast<double>(g.k);
  });
}

double Model::parameters() const {
  return stack_parameters() + static_cast<double>(vocabulary) * hidden * (tied ? 1 : 2);
}

double Model::weight_bytes() const {
  const double stack = sum_of_gemms(*this, [](const Gemm& g) {
    return g.experts * static_cast<double>(g.n) * g.storage.row_bytes(static_cast<double>(g.k));
  });
  return stack + static_cast<double>(vocabulary) * (tied ? 1 : 2) *
                     weights.unquantised().row_bytes(static_cast<double>(hidden));
}

int Model::kv_heads_on_device(int degree) const { return std::max(1, kv_heads / degree); }

std::vector<Gemm> layer_gemms(const Model& m, int degree) {
  std::vector<Gemm> all;
  add_attention(m, degree, all);
  add_mlp(m, degree, all);
  return all;
}

bool is_projection(const Gemm& gemm) {
  return gemm.name == "qkv" || gemm.name == "q_up" || gemm.name == "kv_up" || gemm.name == "o";
}

Gemm head_gemm(const Model& m, int degree) {
  return {"head", divide_up(m.vocabulary, degree), m.hidden, 1, m.weights.unquantised()};
}

double distinct_experts(int count, int active, double rows) {
  if (active >= count) return count;
  return -count * std::expm1(rows * std::log1p(-static_cast<double>(active) / count));
}

}  // namespace doublep::sim
