// Matrix products of a decode step: read their weights once for the whole batch.
#pragma once

#include "sim/cost/roofline.h"
#include "sim/model/model.h"

namespace doublep::sim {

/// y[rows, n] = x[rows, k] W: weights, inputs and outputs move once.
Timing gemm_time(const Machine& machine, const Gemm& gemm, std::int64_t rows, KvDtype dtype);

/// Sum of `bytes` over `degree` devices, in a ring: each moves 2 (degree - 1) / degree of them.
/// Nothing for one device.
Timing all_reduce_time(const Hardware& hardware, double bytes, int degree);

}  // namespace doublep::sim
