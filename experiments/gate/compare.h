// The regression gate: a result against a baseline.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "experiments/gate/baseline.h"

namespace doublep {

struct Move {
  std::string trace, label, metric;
  int layer = 0, head = 0;
  double before = 0, after = 0;
  bool fails = false;  ///< beyond tolerance, in a direction that counts
};

struct Comparison {
  /// Why the two cannot be compared (another trace, configuration, missing runs); empty: they can.
  std::vector<std::string> obstacles;
  /// Every value beyond its tolerance, by trace, policy, layer and head.
  std::vector<Move> moves;
  std::size_t compared = 0;

  /// 0 same, 1 regression, 2 cannot compare.
  int exit_code() const;
};

Comparison compare(const Baseline& now, const Baseline& baseline);
/// The table of what moved, at most `limit` lines of it, and a closing line.
void print(const Comparison& comparison, std::size_t limit, std::ostream& out);

}  // namespace doublep
