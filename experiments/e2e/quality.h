// How far a policy's outputs are from dense attention's, and what it read.
#pragma once

#include <vector>

#include "experiments/bench/spec.h"
#include "experiments/bench/workload.h"
#include "experiments/e2e/attention.h"
#include "experiments/e2e/report.h"

namespace doublep::e2e {

/// Sequences of a layer that errors and counts look at; the others are like them.
inline constexpr int kLooked = 8;

/// |output - dense| / |dense| per query head. Rows of head_dim; both of the same length.
std::vector<double> relative_errors(const std::vector<float>& output,
                                    const std::vector<float>& dense, int head_dim);

/// Bytes and shares that the layers' last selections need, means over layers, into `point`: the
/// summaries of all items, then keys and values of the union over each group, mean values of terms,
/// each once. The same count as that of `doublep bench`.
void count_reads(const bench::Workload& workload, const bench::Spec& spec,
                 const std::vector<std::unique_ptr<LayerAttention>>& layers, Point& point);

}  // namespace doublep::e2e
