#include "experiments/tune/cheapest.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/quantile.h"

namespace doublep {
namespace {

LayerOption sum_of(const LayerOption& a, const LayerOption& b) {
  return {a.bytes + b.bytes, a.weight + b.weight, std::max(a.worst_good, b.worst_good),
          std::min(a.best_bad, b.best_bad)};
}

// b can be replaced by a in whatever it is a part of. With change rows out of bounds the nearest of
// them no longer matter: Limit::met() asks for them at the very last row only.
bool dominates(const LayerOption& a, const LayerOption& b) {
  return a.bytes <= b.bytes &&
         (a.weight < b.weight ||
          (a.weight == b.weight && a.worst_good <= b.worst_good && a.best_bad <= b.best_bad));
}

// Indices of what nothing else dominates, by rising bytes.
std::vector<std::size_t> front(const std::vector<LayerOption>& options) {
  std::vector<std::size_t> order(options.size()), kept;
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) {
    const LayerOption &a = options[i], &b = options[j];
    if (a.bytes != b.bytes) return a.bytes < b.bytes;
    if (a.weight != b.weight) return a.weight < b.weight;
    return i < j;
  });
  std::vector<std::size_t> least;  // those of the kept that share the smallest weight
  for (std::size_t i : order) {
    if (std::isinf(options[i].weight)) continue;
    if (!least.empty() && options[i].weight > options[least.front()].weight) continue;
    if (std::any_of(least.begin(), least.end(),
                    [&](std::size_t k) { return dominates(options[k], options[i]); }))
      continue;
    if (!least.empty() && options[i].weight < options[least.front()].weight) least.clear();
    least.push_back(i), kept.push_back(i);
  }
  return kept;
}

struct Fronts {
  const std::vector<std::vector<LayerOption>>& layers;  // fronts
  const Limit& limit;

  LayerOption total(const std::vector<std::size_t>& choice) const {
    LayerOption sum;
    for (std::size_t l = 0; l < layers.size(); ++l) sum = sum_of(sum, layers[l][choice[l]]);
    return sum;
  }

  // The cheapest choice where a unit of weight costs `price` bytes.
  std::vector<std::size_t> priced(double price) const {
    std::vector<std::size_t> choice;
    for (const auto& options : layers) {
      const auto cost = [&](const LayerOption& o) { return o.bytes + price * o.weight; };
      const auto best = std::min_element(
          options.begin(), options.end(), [&](const LayerOption& a, const LayerOption& b) {
            return cost(a) != cost(b) ? cost(a) < cost(b) : a.weight < b.weight;
          });
      choice.push_back(static_cast<std::size_t>(best - options.begin()));
    }
    return choice;
  }

  // Replaces one option, or two at a time, as long as that is cheaper and meets the limit.
  void improve(std::vector<std::size_t>& choice) const {
    const std::size_t n = layers.size();
    LayerOption now = total(choice);
    const auto change = [&](std::size_t l, std::size_t to) {
      return std::pair(layers[l][to].bytes - layers[l][choice[l]].bytes,
                       layers[l][to].weight - layers[l][choice[l]].weight);
    };
    // Differences first: a whole sum is dear.
    const auto try_it = [&](std::size_t a, std::size_t i, std::size_t b, std::size_t j) {
      const auto [bytes_a, weight_a] = change(a, i);
      const auto [bytes_b, weight_b] = change(b, j);
      const double room = 1e-9 * std::abs(limit.most());
      if (bytes_a + (a != b ? bytes_b : 0) >= 0 ||
          now.weight + weight_a + (a != b ? weight_b : 0) > limit.most() + room)
        return false;
      const std::size_t old_a = choice[a], old_b = choice[b];
      choice[a] = i, choice[b] = j;
      const LayerOption sum = total(choice);
      if (sum.bytes < now.bytes && limit.met(sum)) {
        now = sum;
        return true;
      }
      choice[b] = old_b, choice[a] = old_a;
      return false;
    };
    for (bool better = true; better;) {
      better = false;
      for (std::size_t a = 0; a < n; ++a)
        for (std::size_t i = 0; i < layers[a].size(); ++i) {
          if (i < choice[a]) better |= try_it(a, i, a, i);
          // A dearer option here may let another layer save more.
          for (std::size_t b = 0; b < n; ++b)
            for (std::size_t j = 0; b != a && i > choice[a] && j < choice[b]; ++j)
              better |= try_it(a, i, b, j);
        }
    }
  }
};

struct State {
  LayerOption sum;
  std::size_t before, option;  // the state of the layers before, and what is added to it
};

}  // namespace

Limit::Limit(const Target& target, std::size_t rows) : target_(target), rows_(rows) {
  const auto n = static_cast<double>(rows);
  if (target.percentile < 0) {
    // Not the condition itself but a bound of it: rounding is given its room.
    most_ = (target.at_most() ? target.bound : -target.bound) * n;
    most_ += 1e-9 * std::abs(most_) + 1e-300;
    return;
  }
  const QuantilePlace place(target.percentile / 100, rows);
  share_ = place.share;
  // Rows that may lie out of bounds: all beyond the upper of the two, or before the lower one; with
  // one more the percentile lies between a good and a bad row.
  most_ = static_cast<double>(target.at_most() ? rows - 1 - place.below : place.above);
}

LayerOption Limit::option(const LayerSample& layer) const {
  LayerOption option;
  option.bytes = layer.bytes;
  for (double value : layer.values) {
    const double cost = target_.at_most() ? value : -value;
    if (std::isnan(value)) option.weight = INFINITY;
    if (target_.percentile < 0)
      continue;
    else if (target_.met(value))
      option.worst_good = std::max(option.worst_good, cost);
    else
      option.best_bad = std::min(option.best_bad, cost), option.weight += 1;
  }
  if (target_.percentile < 0 && !std::isinf(option.weight))
    option.weight = target_.at_most() ? layer.sum() : -layer.sum();
  return option;
}

bool Limit::met(const LayerOption& sum) const {
  const double sign = target_.at_most() ? 1 : -1;
  if (target_.percentile < 0) return target_.met(sign * sum.weight / static_cast<double>(rows_));
  if (sum.weight != most_ || share_ == 0) return sum.weight <= most_;
  const double good = sign * sum.worst_good, bad = sign * sum.best_bad;
  return target_.met(target_.at_most() ? between(good, bad, share_) : between(bad, good, share_));
}

std::optional<Cheapest> cheapest(const std::vector<std::vector<LayerOption>>& all,
                                 const Limit& limit, std::size_t most_states) {
  std::vector<std::vector<std::size_t>> kept;
  std::vector<std::vector<LayerOption>> layers;
  for (const auto& options : all) {
    kept.push_back(front(options));
    if (kept.back().empty()) return std::nullopt;
    auto& fresh = layers.emplace_back();
    for (std::size_t i : kept.back()) fresh.push_back(options[i]);
  }
  const Fronts fronts{layers, limit};
  const std::size_t n = layers.size();
  const auto least_weight = fronts.priced(1e300);
  if (fronts.total(least_weight).weight > limit.most()) return std::nullopt;

  // The price of weight at which the priced choice just meets the limit: its Lagrangian bound is
  // the best of all prices.
  double low = 0, high = 1e-300;
  const auto fits = [&](double price) {
    return fronts.total(fronts.priced(price)).weight <= limit.most();
  };
  while (high < 1e300 && !fits(high)) low = high, high *= 16;
  for (int i = 0; i < 200 && !fits(low); ++i) {
    const double middle = low > 0 ? std::sqrt(low) * std::sqrt(high) : high / 2;
    if (middle <= low || middle >= high) break;
    (fits(middle) ? high : low) = middle;
  }
  const double price = fits(low) ? low : high;
  std::vector<double> rest(n + 1, 0), rest_weight(n + 1, 0);  // at least, of layers l .. n - 1
  for (std::size_t l = n; l-- > 0;) {
    double bytes = INFINITY, weight = INFINITY;
    for (const LayerOption& o : layers[l]) {
      bytes = std::min(bytes, o.bytes + price * o.weight);
      weight = std::min(weight, o.weight);
    }
    rest[l] = rest[l + 1] + bytes, rest_weight[l] = rest_weight[l + 1] + weight;
  }
  const auto bound = [&](const LayerOption& sum, std::size_t next) {
    return sum.bytes + price * (sum.weight - limit.most()) + rest[next];
  };

  Cheapest best;
  best.bytes = INFINITY;
  for (auto choice : {fronts.priced(price), least_weight})
    if (limit.met(fronts.total(choice))) {
      fronts.improve(choice);
      const double bytes = fronts.total(choice).bytes;
      if (bytes < best.bytes) best.bytes = bytes, best.choice = choice;
    }
  const auto hopeless = [&](const LayerOption& sum, std::size_t next) {
    const double room = 1e-9 * (std::abs(sum.bytes) + std::abs(rest[next]) +
                                price * (std::abs(sum.weight) + std::abs(limit.most())));
    const double least = sum.weight + rest_weight[next];
    return least > limit.most() + 1e-9 * std::abs(limit.most()) ||
           bound(sum, next) > best.bytes + room;
  };

  std::vector<std::vector<State>> states = {{State{}}};
  double dropped = INFINITY;  // the least bound of what was given up
  for (std::size_t l = 0; l < n; ++l) {
    std::vector<State> fresh;
    std::vector<LayerOption> sums;
    for (std::size_t s = 0; s < states[l].size(); ++s)
      for (std::size_t o = 0; o < layers[l].size(); ++o) {
        const LayerOption sum = sum_of(states[l][s].sum, layers[l][o]);
        if (hopeless(sum, l + 1)) continue;
        fresh.push_back({sum, s, o}), sums.push_back(sum);
      }
    auto& next = states.emplace_back();
    for (std::size_t i : front(sums)) next.push_back(fresh[i]);
    if (next.size() <= most_states) continue;
    std::sort(next.begin(), next.end(), [&](const State& a, const State& b) {
      return bound(a.sum, l + 1) < bound(b.sum, l + 1);
    });
    dropped = std::min(dropped, bound(next[most_states].sum, l + 1));
    next.resize(most_states);
  }
  const State* end = nullptr;
  for (const State& s : states[n])
    if (limit.met(s.sum) && (end ? s.sum.bytes < end->sum.bytes : s.sum.bytes <= best.bytes))
      end = &s;
  if (end) {
    best.bytes = end->sum.bytes, best.choice.assign(n, 0);
    const State* at = end;
    for (std::size_t l = n; l-- > 0; at = &states[l][at->before]) best.choice[l] = at->option;
  }
  if (best.choice.empty()) return std::nullopt;
  best.at_least = std::min(best.bytes, dropped);
  for (std::size_t l = 0; l < n; ++l) best.choice[l] = kept[l][best.choice[l]];
  return best;
}

}  // namespace doublep
