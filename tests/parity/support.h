// What the parity tests share: caches to attend, rounded to the kernel's type before either backend
// sees them, and the tolerances.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "core/attention/attend.h"
#include "core/base/half.h"
#include "core/base/random.h"
#include "core/decoder/reference_decoder.h"
#include "core/policy/registry.h"
#include "cuda/decoder/factory.h"
#include "tests/catch.h"

namespace doublep::test {

/// Says why and returns true where no GPU is.
inline bool without_device() {
  const std::string problem = cuda::device_problem();
  if (problem.empty()) return false;
  skip(problem);
  return true;
}

/// How far an output may be from the reference, relative to its norm. float32: summation order.
/// 16 bits: inputs are rounded beforehand and softmax weights go in as two parts, so what is left
/// are the mean values of cluster terms, rounded to half a unit: 2^-11 and 2^-8 of their share.
struct Tolerance {
  double exact, terms;
};
inline Tolerance tolerance(KvDtype dtype) {
  return dtype == KvDtype::kFp32   ? Tolerance{3e-5, 6e-5}
         : dtype == KvDtype::kFp16 ? Tolerance{2e-4, 1e-3}
                                   : Tolerance{2e-4, 6e-3};
}

inline float rounded(float v, KvDtype dtype) {
  return dtype == KvDtype::kFp32   ? v
         : dtype == KvDtype::kFp16 ? half_to_float(float_to_half(v))
                                   : bfloat16_to_float(float_to_bfloat16(v));
}
inline std::vector<float> rounded(std::vector<float> values, KvDtype dtype) {
  for (float& v : values) v = rounded(v, dtype);
  return values;
}

enum class Kind { kPlain, kEqualKeys, kDominantKey, kHugeValues };
inline std::string name_of(Kind kind) {
  return kind == Kind::kPlain         ? "plain"
         : kind == Kind::kEqualKeys   ? "all keys equal"
         : kind == Kind::kDominantKey ? "one dominant key"
                                      : "huge values";
}

/// A synthetic cache and queries: keys around a few dozen centres, as real keys cluster.
struct Case {
  Kind kind = Kind::kPlain;
  KvDtype dtype = KvDtype::kBf16;
  int kv_heads = 2, group = 4, head_dim = 128;
  std::int64_t length = 700, capacity = 760;
  std::vector<float> keys, values, queries;
  std::vector<float> prompt;  ///< queries of its last positions, [positions, heads, head_dim]

  /// Queries of the prompt that look into an eighth of the dimensions only.
  void ask(int positions) {
    const CounterRng rng(11, head_dim);
    prompt.resize(static_cast<std::size_t>(positions) * kv_heads * group * head_dim);
    for (std::size_t i = 0; i < prompt.size(); ++i)
      prompt[i] = static_cast<float>(rng.normal(i)) *
                  (static_cast<int>(i) % head_dim < head_dim / 8 ? 3.f : 0.1f);
  }
  void fill(std::uint64_t seed = 1) {
    const CounterRng rng(seed, static_cast<std::uint64_t>(kind), head_dim, length);
    const std::int64_t d = head_dim;
    std::uint64_t at = 0;
    std::vector<float> centres(24 * d);
    for (float& c : centres) c = static_cast<float>(1.2 * rng.normal(at++));
    keys.resize(kv_heads * capacity * d), values.resize(keys.size());
    for (std::int64_t j = 0; j < kv_heads * capacity; ++j) {
      const std::int64_t centre = kind == Kind::kEqualKeys ? 0 : rng.below(at++, 24);
      for (std::int64_t i = 0; i < d; ++i) {
        const double noise = kind == Kind::kEqualKeys ? 0 : 0.6 * rng.normal(at++);
        keys[j * d + i] = centres[centre * d + i] + static_cast<float>(noise);
        values[j * d + i] = static_cast<float>(rng.normal(at++)) *
                            (kind == Kind::kHugeValues && j % 7 == 3 ? 3e4f : 1.f);
      }
    }
    queries.resize(kv_heads * group * d);
    for (float& q : queries) q = static_cast<float>(rng.normal(at++));
    if (kind == Kind::kDominantKey)
      for (int h = 0; h < kv_heads; ++h) {  // along the first query of the group
        float* key = keys.data() + (h * capacity + std::min<std::int64_t>(length - 1, 101)) * d;
        for (std::int64_t i = 0; i < d; ++i) key[i] = 4 * queries[h * group * d + i];
      }
    keys = rounded(keys, dtype), values = rounded(values, dtype), queries = rounded(queries, dtype);
  }
  /// Values that follow the keys, as a shift of values supposes: v_i = 0.8 k_(i+1) + noise.
  static constexpr double kSlope = 0.8;
  void slope_values() {
    for (std::int64_t j = 0; j < kv_heads * capacity; ++j)
      for (int i = 0; i < head_dim; ++i) {
        float& v = values[j * head_dim + i];
        v = rounded(0.5f * v + static_cast<float>(kSlope) * keys[j * head_dim + (i + 1) % head_dim],
                    dtype);
      }
  }
  KvCacheView cache() const {
    const int heads = kv_heads * group;
    const std::int64_t row = static_cast<std::int64_t>(heads) * head_dim;
    return {keys.data(),
            values.data(),
            kv_heads,
            capacity,
            length,
            head_dim,
            head_dim,
            {prompt.data(), static_cast<std::int64_t>(prompt.size()) / row, heads, head_dim, row}};
  }
  QueryBlock block() const {
    return {queries.data(), kv_heads * group, head_dim, 1 / std::sqrt(double(head_dim)), 0};
  }
  std::string text() const {
    return name_of(kind) + ", " + std::string(doublep::name_of(dtype)) + ", d " +
           std::to_string(head_dim) + ", group " + std::to_string(group) + ", n " +
           std::to_string(length);
  }
};

struct Setup {
  std::string policy;
  std::map<std::string, ParamValue> given;
};
/// Double-P's best setting without what is not the device's, and with other values where given.
inline Setup best(std::map<std::string, ParamValue> other = {}) {
  other.insert({{"variant", std::string("best")}, {"head_kinds", std::string("one")}});
  return {"double_p", std::move(other)};
}
/// Every setup on every element type and adversarial cache: visit(case, setup).
template <class Visit>
void for_each_case(const std::vector<Setup>& setups, const Case& like, Visit visit) {
  for (const KvDtype dtype : {KvDtype::kFp32, KvDtype::kFp16, KvDtype::kBf16})
    for (const Kind kind : {Kind::kPlain, Kind::kEqualKeys, Kind::kDominantKey})
      for (const Setup& setup : setups) {
        Case c = like;
        c.kind = kind, c.dtype = dtype;
        c.fill();
        visit(c, setup);
      }
}

inline std::unique_ptr<Decoder> on_gpu(const Setup& setup, KvDtype dtype) {
  const PolicyInfo& info = PolicyRegistry::instance().find(setup.policy);
  PolicyContext context;
  context.kv_dtype = dtype;
  return cuda::make_decoder(info, resolve(info, setup.given), context);
}

inline std::unique_ptr<Decoder> on_cpu(const Setup& setup, KvDtype dtype) {
  const PolicyInfo& info = PolicyRegistry::instance().find(setup.policy);
  PolicyContext context;
  context.kv_dtype = dtype;
  return std::make_unique<ReferenceDecoder>(info, resolve(info, setup.given), context);
}

/// |a - b| / |b|, or |a - b| where b is zero. Values that are not finite must stand in the same
/// places; they do not count beyond that.
inline double distance(const float* a, const float* b, std::int64_t n) {
  double squares = 0, norm = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (std::isfinite(a[i]) != std::isfinite(b[i])) return INFINITY;
    if (!std::isfinite(b[i])) continue;
    squares += (double(a[i]) - b[i]) * (double(a[i]) - b[i]), norm += double(b[i]) * b[i];
  }
  return norm > 0 ? std::sqrt(squares / norm) : std::sqrt(squares);
}

/// The reference's attention over the selections that the GPU reported.
struct Attended {
  std::vector<float> output;
  std::vector<double> log_sum_exp;
};
inline Attended attend_same(const Case& c, const StepResult& result) {
  const QueryBlock block = c.block();
  Attended out{std::vector<float>(result.output.size()),
               std::vector<double>(block.num_query_heads)};
  for (int h = 0; h < c.kv_heads; ++h)
    attend(c.cache().head(h), block.group(h, c.kv_heads),
           std::span(result.selections).subspan(h * c.group, c.group),
           out.output.data() + h * c.group * c.head_dim, out.log_sum_exp.data() + h * c.group);
  return out;
}

}  // namespace doublep::test
