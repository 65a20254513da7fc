// The estimate by bulk copies: where estimate() goes for it.
#pragma once

#include "cuda/estimate/estimate.h"

namespace doublep::cuda {

struct Regions;

/// Clusters in 16 bits. Launches nothing and returns false where the current device has no bulk
/// copies, or no room for so many pairs.
bool bulk_estimate(const EstimateParams& params, const Regions& regions, cudaStream_t stream,
                   bool overlap);

}  // namespace doublep::cuda
