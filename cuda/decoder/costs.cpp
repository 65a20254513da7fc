#include "cuda/decoder/costs.h"

#include <algorithm>
#include <cmath>

#include "core/attention/attend.h"
#include "core/index/mass_estimate.h"

namespace doublep::cuda {

namespace {

constexpr int kNibbleBits = 4;

double pages_of(const PolicyPlan& plan, std::int64_t length) {
  return static_cast<double>((length + plan.step.page_size - 1) / plan.step.page_size);
}
/// Codes, and minimum and step as two 16-bit numbers.
double nibble_bytes(int head_dim) { return kNibbleBits * head_dim / 8.0 + 4; }

void charge_pages(const PolicyPlan& plan, const QueryGroup& group, KvDtype dtype,
                  const Touched& touched, GroupSelection& out) {
  const double n = pages_of(plan, touched.length), d = group.head_dim;
  out.charge(Stage::kEstimate, 2 * n * d * bytes_of(dtype), n * 4 * d);
  out.charge(Stage::kSelect, 4 * n * group.size, 2 * n);
  if (!plan.twilight()) return;
  out.charge(Stage::kEstimate, touched.distinct_candidates * nibble_bytes(group.head_dim), 0);
  for (int h = 0; h < group.size; ++h) {
    const double count = touched.candidates[h];
    out.cost[h][Stage::kEstimate] += Work{0, count * (4 * d + 1)};
    out.cost[h][Stage::kSelect] += Work{4 * count, count * std::log2(count + 1)};
  }
}

void charge_clusters(const PolicyPlan& plan, const QueryGroup& group, KvDtype dtype,
                     const Touched& touched, GroupSelection& out) {
  charge_estimate(*touched.index, group,
                  plan.step.second_order ? Estimator::kSecondOrder : Estimator::kJensen, dtype,
                  out);
  const double k = static_cast<double>(touched.index->num_clusters()), size = group.size;
  if (plan.step.rank_without_size)  // RetroInfer: one ranking for the group
    return out.charge(Stage::kSelect, 4 * k * size, 3 * k + k * std::log2(k + 1) / size);
  if (plan.step.rule == SelectRule::kCount) return out.charge(Stage::kSelect, 4 * k * size, 2 * k);
  out.charge(Stage::kSelect, 4 * k * size, k * std::log2(k + 1));
  if (!plan.mass_with_zone) return;
  const double n = static_cast<double>(touched.zone), d = group.head_dim;
  out.charge(Stage::kEstimate, n * d * bytes_of(dtype), n * (2 * d + 1));
}

}  // namespace

Work clustering_work(std::int64_t points, int head_dim, const ItemIndex::Clustering& options) {
  Work work;
  if (points == 0) return work;
  const auto segments =
      make_segments(points, options.tokens_per_cluster, options.clusters, options.segment);
  const double d = head_dim;
  for (const Segment& s : segments) {
    const double n = s.points, k = s.clusters;
    for (int i = 0; i < options.iterations; ++i)
      work += Work{4 * (n + k) * d, 2 * n * k * d + n * d};
  }
  if (options.spherical) {
    const double n = static_cast<double>(points), k = total_clusters(segments);
    work += Work{4 * (n + k) * d, 2 * n * k * d};
  }
  if (options.value_map) {
    const double n = static_cast<double>(points);
    work += Work{8 * n * d, 2 * n * d * d + 3 * n * d};
  }
  return work;
}

Work paging_work(const PolicyPlan& plan, std::int64_t joined, int head_dim, KvDtype dtype) {
  const double elements = static_cast<double>(joined * head_dim);
  Work work{elements * bytes_of(dtype), 2 * elements};
  if (plan.twilight()) work += Work{elements * bytes_of(dtype), 4 * elements};
  return work;
}

double paging_bytes(const PolicyPlan& plan, std::int64_t length, int head_dim, KvDtype dtype) {
  const double extremes = 2 * pages_of(plan, length) * head_dim * bytes_of(dtype);
  return extremes + (plan.twilight() ? nibble_bytes(head_dim) * static_cast<double>(length) : 0);
}

void charge_step(const PolicyPlan& plan, const QueryGroup& group, KvDtype dtype,
                 const Touched& touched, GroupSelection& out) {
  if (plan.step.pages) charge_pages(plan, group, dtype, touched, out);
  if (plan.clustered) charge_clusters(plan, group, dtype, touched, out);
  charge_attend(group, dtype, out);
}

}  // namespace doublep::cuda
