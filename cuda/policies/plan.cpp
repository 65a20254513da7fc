#include "cuda/policies/plan.h"

#include <algorithm>
#include <cmath>

namespace doublep::cuda {

DType device_type(KvDtype dtype) {
  return dtype == KvDtype::kFp32   ? DType::kFp32
         : dtype == KvDtype::kFp16 ? DType::kFp16
                                   : DType::kBf16;
}

namespace {

std::vector<Segment> segments_of(std::int64_t points, const ItemIndex::Clustering& c) {
  if (points <= 0) return {};
  return make_segments(points, c.tokens_per_cluster, c.clusters, c.segment);
}

// W over its largest absolute row sum. The device multiplies keys with it in 16 bits, and fp16 ends
// at 65504: no element of k W is larger than the largest of k then, whatever the queries or rho.
// Which centroid is nearest does not depend on W's scale.
MatrixF within_range(const MatrixD& warp) {
  const double largest = warp.cwiseAbs().rowwise().sum().maxCoeff();
  return (warp / (largest > 0 ? largest : 1)).cast<float>();
}

}  // namespace

std::int64_t clusters_of(std::int64_t points, const ItemIndex::Clustering& clustering) {
  return total_clusters(segments_of(points, clustering));
}

Work clustering_work(std::int64_t points, int head_dim, const ItemIndex::Clustering& options,
                     double warped) {
  const double n = static_cast<double>(points);
  const auto segments = segments_of(points, options);
  Work work;
  for (const Segment& s : segments)
    for (int i = 0; i < options.iterations; ++i)
      work += cost::kmeans_pass(s.points, s.clusters, head_dim);
  if (options.spherical) work += cost::assignment(n, total_clusters(segments), head_dim);
  if (points > 0 && warped > 0) {
    const Work change = cost::change_metric(n, head_dim);
    work += Work{warped * change.bytes, warped * change.flops};
  }
  // One pass makes both, as ClusterIndex::add_moments has it.
  if (options.value_map)
    work += cost::value_map(n, head_dim, head_dim);
  else if (options.key_shape)
    work.bytes += cost::key_shape(n, head_dim).bytes;
  if (options.key_shape) work.flops += cost::key_shape(n, head_dim).flops;
  return work;
}

double warped_share(const Warps& warps) {
  double count = 0;
  for (const auto& warp : warps) count += warp != nullptr;
  return warps.empty() ? 0 : count / static_cast<double>(warps.size());
}

ItemIndex::Clustering clustering_of(const IndexPlan& plan, std::int64_t points,
                                    const Warps& warps) {
  ItemIndex::Clustering clustering = plan.clustering;
  if (plan.first.init == KmeansOptions::Init::kRandom || plan.first.seed != 0)
    for (const Segment& s : segments_of(points, clustering))
      for (const std::int64_t point : first_points(s.points, s.clusters, plan.first))
        clustering.first.push_back(static_cast<std::int32_t>(point));
  if (warped_share(warps) == 0) return clustering;
  const Eigen::Index d = (*std::find_if(warps.begin(), warps.end(), [](const auto& w) {
                           return w != nullptr;
                         }))->rows();
  for (const auto& warp : warps) {
    const MatrixF w = warp ? within_range(*warp) : MatrixF(MatrixF::Identity(d, d));
    clustering.warp.insert(clustering.warp.end(), w.data(), w.data() + w.size());
  }
  return clustering;
}

std::int64_t Plan::items(std::int64_t length) const {
  const ExactZone exact = zone(length);
  if (clustered()) return clusters_of(exact.tail_begin - exact.sink_end, index.clustering);
  return pages() ? (length + step.page_size - 1) / step.page_size : 0;
}

std::pair<std::int32_t, std::int32_t> Plan::budgets(std::int64_t length, std::int64_t items,
                                                    std::int64_t occupied) const {
  const auto part = [&](double share) {
    const double n = static_cast<double>(occupied);
    return static_cast<std::int32_t>(std::min(n, std::ceil(share * n - 1e-9)));
  };
  const auto both = [](std::int64_t count) {
    return std::pair{static_cast<std::int32_t>(count), static_cast<std::int32_t>(count)};
  };
  switch (stop.rule) {
    case StopPlan::Rule::kTokens:
      return both(stop.budget.pages(length, step.page_size));
    case StopPlan::Rule::kItems:
      return both(stop.budget.of(items));
    case StopPlan::Rule::kOccupied:
      return {part(stop.kept), part(stop.refined)};
    case StopPlan::Rule::kMass:
    case StopPlan::Rule::kVisible:
    case StopPlan::Rule::kError:
      break;
  }
  return {0, 0};
}

SelectRule Plan::rule() const {
  return stop.rule == StopPlan::Rule::kMass      ? SelectRule::kMass
         : stop.rule == StopPlan::Rule::kVisible ? SelectRule::kTokens
         : stop.rule == StopPlan::Rule::kError   ? SelectRule::kError
                                                 : SelectRule::kCount;
}

StepOptions Plan::options(double softmax_scale, std::int64_t capacity,
                          const ExactZone& exact) const {
  StepOptions options = step;
  options.scale = static_cast<float>(softmax_scale);
  options.pages = pages();
  options.rule = rule();
  options.share = stop.share, options.tokens = stop.tokens;
  options.error = stop.error, options.tail = stop.tail;
  options.keep = stop.kept, options.refine = stop.refined;
  if (mass_with_zone || ranked())
    options.zone_capacity = std::min(capacity, exact.sink_end + capacity - exact.tail_begin);
  return options;
}

Work Plan::paging_work(std::int64_t joined, int head_dim, KvDtype dtype) const {
  if (!pages()) return {};
  const double tokens = static_cast<double>(joined);
  Work work = cost::page_extremes(tokens, head_dim, dtype);
  if (twilight()) work += cost::quantise(tokens, head_dim, dtype);
  return work;
}

double Plan::index_bytes(std::int64_t items, std::int64_t tokens, int head_dim,
                         KvDtype dtype) const {
  const double n = static_cast<double>(tokens), k = static_cast<double>(items);
  if (pages())
    return cost::page_memory(k, head_dim, dtype) +
           (twilight() ? cost::quantised_key_bytes(head_dim, kQuantisedBits) * n : 0);
  if (!clustered()) return 0;
  return cost::cluster_memory(k, n, head_dim, head_dim, dtype) +
         (index.clustering.value_map + index.clustering.key_shape) * static_cast<double>(head_dim) *
             head_dim * bytes_of(plain_dtype(dtype));
}

}  // namespace doublep::cuda
