// One option per layer, so that their bytes are least and a target over all layers is met.
#pragma once

#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "experiments/tune/tuning.h"

namespace doublep {

/// What a target needs to know of one option in one layer. Sums over layers decide: of `weight`
/// always, and for a percentile that lies between two rows of `worst_good` and `best_bad` too.
struct LayerOption {
  double bytes = 0;
  double weight = 0;  ///< sum of the values (negative where more is better), or rows out of bounds
  double worst_good = -std::numeric_limits<double>::infinity();  ///< of the rows within bounds
  double best_bad = std::numeric_limits<double>::infinity();     ///< of the rows out of bounds
};

/// A target over the rows of all layers as a condition on sums of LayerOptions.
class Limit {
 public:
  /// `rows`: of all layers together.
  Limit(const Target& target, std::size_t rows);
  /// A layer's rows under one candidate. A value that is no number makes the weight infinite: such
  /// an option is never chosen.
  LayerOption option(const LayerSample& layer) const;
  /// The very condition that Target::met() states of score().
  bool met(const LayerOption& sum) const;
  /// No sum above this meets it.
  double most() const { return most_; }

 private:
  Target target_;
  std::size_t rows_;
  double most_ = 0, share_ = 0;
};

struct Cheapest {
  std::vector<std::size_t> choice;  ///< an option per layer
  double bytes = 0;                 ///< sum over layers
  double at_least = 0;  ///< no choice that meets the limit has fewer; `bytes`: proven the cheapest
};

/// Exact, by dynamic programming over the non-dominated partial choices, cut by the Lagrangian
/// bound of the layers to come. Only where more than `most_states` survive a layer the dearest of
/// them are dropped; the result is then the best choice seen, and `at_least` says how far it may be
/// from the cheapest. None: no choice meets the limit (or, beyond `most_states`, none was seen).
std::optional<Cheapest> cheapest(const std::vector<std::vector<LayerOption>>& layers,
                                 const Limit& limit, std::size_t most_states = 50000);

}  // namespace doublep
