// How much longer a model answers under a policy than under dense attention, as measured.
#pragma once

#include <string>
#include <vector>

#include "experiments/config/sweep.h"

namespace doublep::sim {

struct AnswerLength {
  double ratio = 1;   ///< tokens of its answers over dense's, to the same questions
  int questions = 0;  ///< that both answered
  int cut = 0;        ///< of which one answer at least reached the most that was asked for
};

/// From rows of experiments/accuracy.py (JSON lines), one entry a policy: rows whose policy has the
/// same parameters, paired with dense's by model, task, length and question. Throws InputError: not
/// such a file, or no pair of a policy.
std::vector<AnswerLength> read_answer_lengths(const std::string& path,
                                              const std::vector<RunSpec>& policies);

}  // namespace doublep::sim
