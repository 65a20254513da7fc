// Whole decode steps as measured: what attention stands beside is fitted on some of them, all are
// predicted.
#pragma once

#include "sim/calibration/calibrate.h"

namespace doublep::sim {

/// Matrix products and small kernels of a decode step: all layers, without attention.
struct MeasuredProducts {
  int batch = 1;
  double seconds = 0;                                      ///< all together
  double qkv = 0, o = 0, gate_up = 0, down = 0, head = 0;  ///< s, each alone
  double small = 0;  ///< norms, rotary embedding and append, activation
};

/// The products of one layer over the rows of a prompt.
struct MeasuredPrefill {
  std::int64_t rows = 0;
  double seconds = 0, flops = 0;
};

/// A decode step under a policy. `attention` says what one layer's attention read; its `seconds` is
/// the time of the whole step.
struct MeasuredStep {
  MeasuredPoint attention;
  int distinct = 0;          ///< layers that had a cache of their own
  double output_error = -1;  ///< mean relative error to dense; negative: not measured
};

struct MeasuredModel {
  std::string path, device, model, caches;
  int layers = 0;
  std::vector<MeasuredProducts> products;
  std::vector<MeasuredPrefill> prefill;
  std::vector<MeasuredStep> steps;
};

struct ProductsPrediction {
  MeasuredProducts measured, predicted;
  bool held_out = false;
};
struct PrefillPrediction {
  MeasuredPrefill measured;
  double predicted = 0;  ///< s
  bool held_out = false;
};
struct StepPrediction {
  MeasuredStep step;
  double predicted = 0;  ///< s
  bool held_out = false;
};

struct EndToEnd {
  MeasuredModel measured;
  std::vector<ProductsPrediction> products;
  std::vector<PrefillPrediction> prefill;
  std::vector<StepPrediction> steps;
  ErrorSummary fitted, held_out;  ///< of the steps
};

/// Fits into `efficiency`: share and latency of matrix products, latency of a small kernel, the
/// share of the compute rate that a prompt's products reach, and what a layer's attention takes
/// inside of a step more or less than alone in a graph (which pays the graph's own start). Steps
/// are kept from the fit by is_held_out; of the products and prompts, in the order of their size,
/// every `hold_out.every`-th beginning with the second. `model` is taken with the layers that were
/// measured.
EndToEnd fit_end_to_end(const Hardware& hardware, Model model, MeasuredModel measured,
                        const HoldOut& hold_out, Efficiency& efficiency);

}  // namespace doublep::sim
