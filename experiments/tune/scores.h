// Rows of a candidate, cut into layers and into tuning and held-out steps.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "experiments/tune/tuning.h"

namespace doublep {

/// One candidate in one layer: its rows' values of the target's metric, and bytes per step.
struct LayerSample {
  std::vector<double> values;
  double bytes = 0;
  double sum() const;  ///< of the values, one after the other
};

/// By layer. `heldout`: which part of the steps.
std::map<int, LayerSample> sample(const StoredRun& run, const Target& target,
                                  const Holdout& holdout, bool heldout);

/// The target's statistic over the rows of several layers, and the mean of their bytes.
Score score(const std::vector<const LayerSample*>& layers, const Target& target);

}  // namespace doublep
