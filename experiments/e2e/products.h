// Times of what a decode step and a prefill do beside attention.
#pragma once

#include "experiments/bench/timing.h"
#include "experiments/e2e/report.h"

namespace doublep::e2e {

/// Runs the step once outside of a graph, so that cuBLAS has chosen and loaded its kernels, then
/// times it and its parts.
Products measure_products(Stack& stack, bench::Timer& timer, int batch, int repeats);

/// One layer's products over so many rows. Allocates a layer and its activations.
std::vector<Prefill> measure_prefill(StackShape shape, bench::Timer& timer,
                                     const std::vector<int>& rows, int repeats);

}  // namespace doublep::e2e
