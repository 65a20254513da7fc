#include "core/cost/stages.h"

#include <cmath>

#include "core/base/error.h"

namespace doublep {
namespace {
struct Entry {
  KvDtype dtype;
  std::string_view name;
  int bytes;
};
constexpr std::array<Entry, 4> kDtypes = {{{KvDtype::kFp32, "fp32", 4},
                                           {KvDtype::kFp16, "fp16", 2},
                                           {KvDtype::kBf16, "bf16", 2},
                                           {KvDtype::kFp8, "fp8", 1}}};
}  // namespace

KvDtype parse_kv_dtype(std::string_view name) {
  for (const Entry& entry : kDtypes)
    if (entry.name == name) return entry.dtype;
  fail_input("kv_dtype: expected fp32, fp16, bf16 or fp8, not '", name, "'");
}
std::string_view name_of(KvDtype dtype) { return kDtypes[static_cast<int>(dtype)].name; }
int bytes_of(KvDtype dtype) { return kDtypes[static_cast<int>(dtype)].bytes; }
KvDtype plain_dtype(KvDtype dtype) { return dtype == KvDtype::kFp8 ? KvDtype::kBf16 : dtype; }

}  // namespace doublep

namespace doublep::cost {
namespace {

constexpr double kFloat = 4;

double vector(int head_dim, KvDtype dtype) {
  return static_cast<double>(head_dim) * bytes_of(dtype);
}
// Of an index, or of a token that is in no block.
double plain_vector(int head_dim, KvDtype dtype) { return vector(head_dim, plain_dtype(dtype)); }

}  // namespace

Work weigh_keys(double keys, int head_dim, KvDtype dtype) {
  return {keys * vector(head_dim, dtype), keys * (2.0 * head_dim + 1)};
}

Work weigh_clusters(double k, int head_dim, KvDtype dtype) {
  return {k * (plain_vector(head_dim, dtype) + kFloat), k * (2.0 * head_dim + 2)};
}
Work correct_by_variance(double k) { return {k * kFloat, k * 2}; }
Work correct_by_dimension(double k, int head_dim, KvDtype dtype) {
  return {k * (plain_vector(head_dim, dtype) + kFloat), k * (2.0 * head_dim + 3) + head_dim};
}

Work correct_by_shape(double clusters, int head_dim, KvDtype dtype) {
  const double d = head_dim;
  return {4 * clusters + d * plain_vector(head_dim, dtype), 4 * clusters + 2 * d * d + 2 * d};
}
Work term_errors(double clusters, double zone, int head_dim, KvDtype dtype) {
  // Square, exponential, less one, over the size, times p^2.
  Work work = weigh_keys(zone, head_dim, plain_dtype(dtype));
  work.flops += 5 * clusters;
  return work;
}
Work term_values(double clusters, double zone, int value_dim, KvDtype dtype) {
  const double dv = value_dim;
  return {(clusters + zone) * plain_vector(value_dim, dtype) + 4 * clusters,
          (2 * clusters + zone) * 2 * dv + 4 * clusters};
}
Work bound_pages(double pages, int head_dim, KvDtype dtype) {
  return {page_memory(pages, head_dim, dtype), pages * 4.0 * head_dim};
}

double quantised_key_bytes(int head_dim, int bits) {
  return static_cast<double>(bits) * head_dim / 8 + 4;
}
double weigh_quantised_flops(double keys, int head_dim) { return keys * (4.0 * head_dim + 1); }

Work order(double n) { return {kFloat * n, n * std::log2(n + 1)}; }
Work pick(double n) { return {kFloat * n, 2 * n}; }
Work order_of_group(double n, double heads) {
  return {kFloat * n, 3 * n + n * std::log2(n + 1) / heads};
}

double attend_bytes(double tokens, double terms, bool shifted, int head_dim, int value_dim,
                    KvDtype dtype) {
  const double token = vector(head_dim, dtype) + vector(value_dim, dtype);
  return tokens * token + terms * (plain_vector(value_dim, dtype) + (shifted ? kFloat : 0)) +
         (shifted ? value_dim * plain_vector(head_dim, dtype) : 0);
}
double packed_bytes(double plain, double pieces, int head_dim, int value_dim) {
  return plain * (head_dim + value_dim) + 2 * kFloat * pieces;
}
double attend_flops(double tokens, double terms, bool shifted, int head_dim, int value_dim) {
  const double d = head_dim, dv = value_dim;
  return tokens * (2 * d + 2 * dv + 1) + terms * (2 * dv + 1) +
         (shifted ? 2 * dv * d + 2 * dv + 2 * terms : 0);
}

Work kmeans_pass(double n, double k, int head_dim) {
  const double d = head_dim;
  return {kFloat * (n + k) * d, 2 * n * k * d + n * d};
}
Work assignment(double n, double k, int head_dim) {
  return {kFloat * (n + k) * head_dim, 2 * n * k * head_dim};
}
Work value_map(double n, int head_dim, int value_dim) {
  const double d = head_dim, dv = value_dim;
  return {kFloat * n * (d + dv), 2 * n * d * dv + 3 * n * d};
}
Work key_shape(double points, int head_dim) {
  const double d = head_dim;
  return {4 * points * d, 2 * points * d * d + 3 * points * d};
}
Work learn_factors(double queries, double heads, double tokens, double clusters, int head_dim,
                   int value_dim, KvDtype dtype) {
  const Work dense{attend_bytes(tokens, clusters, false, head_dim, value_dim, dtype),
                   attend_flops(tokens, 2 * clusters, false, head_dim, value_dim)};
  Work work = weigh_clusters(clusters, head_dim, dtype);
  work += correct_by_shape(clusters, head_dim, dtype);
  work += term_values(clusters, 0, value_dim, dtype);
  work += order(clusters);
  return {dense.bytes + work.bytes, queries * heads * (dense.flops + work.flops)};
}
Work compare_head_kinds(double queries, double heads, double attended, double ways, double weighed,
                        double ordered, double clusters, int head_dim, int value_dim) {
  return {0, queries * heads *
                 (attend_flops(attended, ways * clusters, false, head_dim, value_dim) +
                  weigh_quantised_flops(weighed, head_dim) + order(ordered).flops)};
}
Work cluster_means(double points, int head_dim, int value_dim, KvDtype dtype) {
  // A sum, then a difference, its square and their sum.
  return {points * (vector(head_dim, dtype) + vector(value_dim, dtype)),
          4 * points * (head_dim + value_dim)};
}
Work change_metric(double points, int head_dim) {
  const double d = head_dim;
  return {4 * points * d, 2 * points * d * d};
}
Work page_extremes(double tokens, int head_dim, KvDtype dtype) {
  return {tokens * vector(head_dim, dtype), 2 * tokens * head_dim};
}
Work quantise(double tokens, int head_dim, KvDtype dtype) {
  return {tokens * vector(head_dim, dtype), 4 * tokens * head_dim};
}
double cluster_memory(double clusters, double tokens, int head_dim, int value_dim, KvDtype dtype) {
  return clusters * (plain_vector(head_dim, dtype) + plain_vector(value_dim, dtype) + 3 * kFloat) +
         kFloat * tokens;
}
double page_memory(double pages, int head_dim, KvDtype dtype) {
  return 2 * pages * plain_vector(head_dim, dtype);
}

}  // namespace doublep::cost
