#include "core/selection/top_p.h"

#include <Eigen/Core>
#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

namespace doublep {
namespace {

auto larger_first(std::span<const double> values) {
  return [values](std::int32_t a, std::int32_t b) {
    return values[a] != values[b] ? values[a] > values[b] : a < b;
  };
}

// exp(-kBelow) is the smallest normal number, and as good as none beside the largest mass, 1.
constexpr double kBelow = 708;

// The last item of the smallest set, in descending order.
struct Cut {
  double value = 0;
  std::int32_t index = -1;
  std::size_t count = 0;
  bool reached = true;
};

// By the leading bits of the masses: an eighth of an octave is a bin, the largest mass is in the
// first, what lies 64 octaves below it in the last. Only the bin in which the sum reaches the
// target is sorted.
class Bins {
 public:
  explicit Bins(std::span<const double> masses)
      : first_(leading(*std::max_element(masses.begin(), masses.end()))) {}
  std::size_t of(double mass) const {
    return static_cast<std::size_t>(std::min<std::uint64_t>(first_ - leading(mass), kBins - 1));
  }
  static constexpr std::size_t kBins = 512;

 private:
  static std::uint64_t leading(double mass) { return std::bit_cast<std::uint64_t>(mass) >> 49; }
  std::uint64_t first_;
};

Cut cut_at(std::span<const double> masses, double target) {
  Cut cut;
  if (!(target > 0) || masses.empty()) return cut;
  const Bins bins(masses);
  double sums[Bins::kBins] = {};
  std::uint32_t counts[Bins::kBins] = {};
  for (const double m : masses) {
    const std::size_t bin = bins.of(m);
    sums[bin] += m, ++counts[bin];
  }
  double sum = 0;
  std::size_t crossing = 0;
  while (crossing < Bins::kBins && sum + sums[crossing] < target)
    sum += sums[crossing], cut.count += counts[crossing++];
  if (crossing == Bins::kBins) {  // never: everything that has mass
    cut.count =
        masses.size() - static_cast<std::size_t>(std::count(masses.begin(), masses.end(), 0.0));
    cut.reached = false;
    return cut;
  }
  std::vector<std::int32_t> order;
  order.reserve(counts[crossing]);
  for (std::size_t i = 0; i < masses.size(); ++i)
    if (bins.of(masses[i]) == crossing) order.push_back(static_cast<std::int32_t>(i));
  std::sort(order.begin(), order.end(), larger_first(masses));
  const std::size_t n = smallest_prefix(masses, order, target - sum);
  if (n > 0) cut.index = order[n - 1], cut.value = masses[cut.index];
  cut.count += n;
  return cut;
}

double target_of(double p, double total, double held) {
  return p >= 1 ? std::numeric_limits<double>::infinity() : p * total - held;
}

}  // namespace

std::vector<std::int32_t> descending_order(std::span<const double> values) {
  struct Item {  // beside its value: a comparison reads one place
    double value;
    std::int32_t index;
  };
  std::vector<Item> items(values.size());
  for (std::size_t i = 0; i < items.size(); ++i)
    items[i] = {values[i], static_cast<std::int32_t>(i)};
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return a.value != b.value ? a.value > b.value : a.index < b.index;
  });
  std::vector<std::int32_t> order(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) order[i] = items[i].index;
  return order;
}

std::vector<std::int32_t> top_k(std::span<const double> values, std::int64_t k) {
  std::vector<std::int32_t> top;
  if (k >= static_cast<std::int64_t>(values.size())) k = static_cast<std::int64_t>(values.size());
  if (k <= 0) return top;
  std::vector<double> sorted(values.begin(), values.end());
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<>());
  const double least = sorted[static_cast<std::size_t>(k - 1)];
  // All above the k-th, and of its equals the first.
  auto equals =
      k - std::count_if(values.begin(), values.end(), [&](double v) { return v > least; });
  top.reserve(static_cast<std::size_t>(k));
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i] > least || (values[i] == least && equals-- > 0))
      top.push_back(static_cast<std::int32_t>(i));
  return top;
}

std::vector<double> relative_masses(std::span<const double> log_masses, double* shift) {
  double max = -std::numeric_limits<double>::infinity();
  for (double x : log_masses) max = std::max(max, x);
  const bool any = max > -std::numeric_limits<double>::infinity();
  // In whole registers of any width, so that none decides which code an element goes through.
  constexpr std::size_t kWidest = 8;
  std::vector<double> masses((log_masses.size() + kWidest - 1) / kWidest * kWidest, -kBelow);
  for (std::size_t i = 0; i < log_masses.size() && any; ++i) masses[i] = log_masses[i] - max;
  Eigen::Map<Eigen::ArrayXd> x(masses.data(), static_cast<Eigen::Index>(masses.size()));
  x = (x > -kBelow).select(x.exp(), 0.0);
  masses.resize(log_masses.size());
  if (shift) *shift = any ? max : 0.0;
  return masses;
}

std::size_t smallest_prefix(std::span<const double> masses, std::span<const std::int32_t> order,
                            double target) {
  double sum = 0;
  std::size_t n = 0;
  while (n < order.size() && sum < target && masses[order[n]] > 0) sum += masses[order[n++]];
  return n;
}

std::size_t top_p_prefix(std::span<const double> masses, std::span<const std::int32_t> order,
                         double p, double total, double held) {
  return smallest_prefix(masses, order, target_of(p, total, held));
}

std::vector<std::int32_t> top_p_set(std::span<const double> masses, double p, double total,
                                    double held) {
  const Cut cut = cut_at(masses, target_of(p, total, held));
  std::vector<std::int32_t> set;
  if (cut.count == 0) return set;
  set.resize(masses.size());  // written without a branch, then cut
  std::size_t n = 0;
  for (std::size_t i = 0; i < masses.size(); ++i) {
    set[n] = static_cast<std::int32_t>(i);
    n += masses[i] > cut.value || (masses[i] == cut.value && set[n] <= cut.index);
  }
  set.resize(n);
  return set;
}

std::size_t smallest_set_size(std::span<const double> values, double target) {
  const Cut cut = cut_at(values, target);
  return cut.reached ? cut.count : values.size();
}

}  // namespace doublep
