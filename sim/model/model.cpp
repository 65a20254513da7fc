#include "sim/model/model.h"

#include <algorithm>

namespace doublep::sim {
namespace {
std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
}  // namespace

double Model::layer_parameters() const {
  double sum = 0;
  for (const Gemm& gemm : layer_gemms(*this, 1)) sum += static_cast<double>(gemm.n) * gemm.k;
  return sum;
}

double Model::parameters() const {
  return layers * layer_parameters() + static_cast<double>(vocabulary) * hidden * (tied ? 1 : 2);
}

int Model::kv_heads_on_device(int degree) const { return std::max(1, kv_heads / degree); }

std::vector<Gemm> layer_gemms(const Model& m, int degree) {
  const std::int64_t q = divide_up(m.query_heads, degree) * m.head_dim;
  const std::int64_t kv = 2ll * m.kv_heads_on_device(degree) * m.head_dim;
  const std::int64_t ffn = divide_up(m.ffn, degree);
  return {{"qkv", q + kv, m.hidden},
          {"o", m.hidden, q},
          {"gate_up", 2 * ffn, m.hidden},
          {"down", m.hidden, ffn}};
}

Gemm head_gemm(const Model& m, int degree) {
  return {"head", divide_up(m.vocabulary, degree), m.hidden};
}

}  // namespace doublep::sim
