#include "sim/profile/workload.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/base/error.h"
#include "core/base/random.h"
#include "sim/profile/profile.h"

namespace doublep::sim {
namespace {
constexpr int kTokens = 2 * kNumStages, kTerms = kTokens + 1, kBuildFlops = kTokens + 2,
              kBuildBytes = kTokens + 3;

template <class F>
double average(const std::vector<Profile>& profiles, const F& value) {
  double sum = 0;
  for (const Profile& p : profiles) sum += value(p);
  return sum / static_cast<double>(profiles.size());
}
}  // namespace

Workload::Workload(std::string name, std::vector<Profile> profiles) : name_(std::move(name)) {
  if (profiles.empty()) fail_input("workload ", name_, ": no profile of this policy");
  const Profile first = profiles.front();
  std::map<std::int64_t, Group> by_length;
  for (Profile& p : profiles) {
    if (p.policy != first.policy || p.parameters != first.parameters)
      fail_input("workload ", name_, ": profiles of different policies (", p.policy, " on ",
                 p.trace, ")");
    if (p.group_size != first.group_size || p.head_dim != first.head_dim)
      fail_input("workload ", name_, ": traces ", first.trace, " and ", p.trace,
                 " differ in group size or head_dim; put them in workloads of their own");
    Group& group = by_length[p.context];
    group.context = p.context;
    std::map<std::pair<int, int>, std::vector<Quantities>> heads;
    for (const ProfileRow& row : p.rows) {
      Quantities q{};
      for (int s = 0; s < kNumStages; ++s) q[s] = row.bytes[s], q[kNumStages + s] = row.flops[s];
      q[kTokens] = row.tokens, q[kTerms] = row.terms;
      q[kBuildFlops] = p.index.build.flops, q[kBuildBytes] = p.index.build.bytes;
      heads[{row.layer, row.kv_head}].push_back(q);
    }
    for (auto& [head, rows] : heads) group.rows.push_back(std::move(rows));
    group.profiles.push_back(std::move(p));
  }
  for (auto& [length, group] : by_length) {
    double count = 0;
    for (const auto& head : group.rows)
      for (const Quantities& q : head) {
        for (int i = 0; i < kQuantities; ++i) group.mean[i] += q[i];
        ++count;
      }
    for (double& m : group.mean) m /= count;
    groups_.push_back(std::move(group));
  }
  for (int i = 0; i < kQuantities; ++i) {  // least squares in log-log over the lengths
    double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (const Group& g : groups_) {
      if (g.mean[i] <= 0) continue;
      const double x = std::log(static_cast<double>(g.context)), y = std::log(g.mean[i]);
      ++n, sx += x, sy += y, sxx += x * x, sxy += x * y;
    }
    const double spread = n * sxx - sx * sx;
    slope_[i] = n >= 2 && spread > 1e-9 ? std::max(0.0, (n * sxy - sx * sy) / spread) : 1;
    // Only a build grows faster than the cache: k-means compares every key with every centroid.
    if (i < kBuildFlops) slope_[i] = std::min(1.0, slope_[i]);
  }
}

bool Workload::extrapolates(std::int64_t context) const {
  // A trace's first step sees a few tokens more or less than its nominal length.
  return context < 0.95 * static_cast<double>(shortest()) ||
         context > 1.05 * static_cast<double>(longest());
}

const Workload::Group& Workload::nearest(std::int64_t context) const {
  const auto distance = [&](const Group& g) {
    return std::abs(std::log(static_cast<double>(g.context) / static_cast<double>(context)));
  };
  return *std::min_element(groups_.rbegin(), groups_.rend(), [&](const Group& a, const Group& b) {
    return distance(a) < distance(b);
  });
}

Workload::Quantities Workload::law(double context) const {
  const Group &low = groups_.front(), &high = groups_.back();
  const auto beyond = [&](const Group& edge) {
    Quantities q = edge.mean;
    for (int i = 0; i < kQuantities; ++i)
      q[i] *= std::pow(context / static_cast<double>(edge.context), slope_[i]);
    return q;
  };
  if (context <= static_cast<double>(low.context)) return beyond(low);
  if (context >= static_cast<double>(high.context)) return beyond(high);
  const auto next =
      std::upper_bound(groups_.begin(), groups_.end(), context,
                       [](double c, const Group& g) { return c < static_cast<double>(g.context); });
  const Group &a = *(next - 1), &b = *next;
  const double w = std::log(context / static_cast<double>(a.context)) /
                   std::log(static_cast<double>(b.context) / static_cast<double>(a.context));
  Quantities q{};
  for (int i = 0; i < kQuantities; ++i)
    q[i] = a.mean[i] > 0 && b.mean[i] > 0
               ? std::exp((1 - w) * std::log(a.mean[i]) + w * std::log(b.mean[i]))
               : (1 - w) * a.mean[i] + w * b.mean[i];
  return q;
}

Workload::Quantities Workload::factors(const Group& from, std::int64_t context) const {
  Quantities f = law(static_cast<double>(context));
  for (int i = 0; i < kQuantities; ++i) f[i] = from.mean[i] > 0 ? f[i] / from.mean[i] : 0;
  return f;
}

HeadWork Workload::work_of(const Quantities& q) {
  HeadWork work;
  for (int s = 0; s < kNumStages; ++s) work.bytes[s] = q[s], work.flops[s] = q[kNumStages + s];
  work.tokens = q[kTokens], work.terms = q[kTerms];
  return work;
}

Workload::View Workload::view(std::int64_t context) const {
  const Group& group = nearest(context);
  View view;
  view.rows_ = &group.rows;
  view.factors_ = factors(group, context);
  return view;
}

HeadWork Workload::View::at(int layer, int kv_head, int kv_heads, int sequence) const {
  const auto& head =
      (*rows_)[(static_cast<std::size_t>(layer) * kv_heads + kv_head) % rows_->size()];
  const CounterRng rng(0, sequence, layer);
  Quantities q = head[rng.below(0, head.size())];
  for (int i = 0; i < kQuantities; ++i) q[i] *= factors_[i];
  return work_of(q);
}

HeadWork Workload::mean(std::int64_t context) const {
  return work_of(law(static_cast<double>(context)));
}

double Workload::hit_rate(double cache_share) const {
  return average(groups_.back().profiles,
                 [&](const Profile& p) { return sim::hit_rate(p.hits, cache_share); });
}

IndexCost Workload::index(std::int64_t context) const {
  const Group& group = nearest(context);
  const Quantities q = law(static_cast<double>(context));
  IndexCost cost;
  cost.memory_bytes =
      average(group.profiles, [](const Profile& p) { return p.index.memory_bytes; }) *
      static_cast<double>(context) / static_cast<double>(group.context);
  cost.build = {q[kBuildBytes], q[kBuildFlops]};
  return cost;
}

double Workload::recluster_every() const {
  return groups_.front().profiles.front().recluster_every;
}
double Workload::recluster_share(std::int64_t context, double every) const {
  const double segment = groups_.front().profiles.front().grown_segment;
  if (segment <= 0) return 1;
  return std::min(1.0, every / static_cast<double>(context) * std::min(1.0, every / segment));
}
double Workload::output_error() const {
  return average(groups_.back().profiles, [](const Profile& p) { return p.output_error; });
}
double Workload::covered_mass() const {
  return average(groups_.back().profiles, [](const Profile& p) { return p.covered_mass; });
}

}  // namespace doublep::sim
