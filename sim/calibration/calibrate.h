// From measured kernel times to efficiencies, and how well these predict what they did not see.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sim/decode/decode.h"

namespace doublep::sim {

/// A share of 1 / `every` of the points is kept from the fit; 1 or less: none.
struct HoldOut {
  int every = 3;
};

/// By a fixed hash of what was measured. A place in some order would not do: on a regular grid
/// every n-th point falls on the same batch again and again (with three batches every third on
/// one), and the ends of the grid are never predicted. The hash knows no order, no other point and
/// no machine.
bool is_held_out(std::string_view label, std::int64_t context, int batch, const HoldOut& rule);

/// One measured decode step of one layer's attention: times and bytes by stage.
struct MeasuredPoint {
  std::string device, policy, label;
  std::int64_t context = 0;
  int batch = 1, kv_heads = 8, group_size = 4, head_dim = 128;
  double seconds = 0;                              ///< of the whole step, in a graph
  std::array<double, kNumStages> stage_seconds{};  ///< each on its own; 0: not measured
  std::array<double, kNumStages> stage_bytes{};    ///< of the batch
  /// Bytes of the estimate whose time stage_seconds holds under select: Twilight's 4-bit keys.
  double late_estimate_bytes = 0;
  double select_items = 0;  ///< masses that one query head searches
  Search search = Search::kHeads;
  double build_seconds = 0, build_flops = 0;  ///< index of one sequence; 0: not measured
};

struct Prediction {
  MeasuredPoint point;
  double predicted = 0;  ///< s
  bool held_out = false;
  double error() const { return predicted / point.seconds - 1; }
};

struct ErrorSummary {
  double median = 0, worst = 0;  ///< of |error|
  int points = 0;
};

struct Calibration {
  Efficiency efficiency;
  std::vector<Prediction> predictions;  ///< fitted and held-out points
  ErrorSummary fitted, held_out;
  Coverage coverage() const;
};

/// Fits share and latency of each kind of access on the points that are not held out, then predicts
/// all of them. Points of other devices than `hardware.title` must not be mixed in: the caller's.
Calibration calibrate(const Hardware& hardware, std::vector<MeasuredPoint> points,
                      const HoldOut& hold_out);

/// Seconds of the step that a point measured, from its bytes.
double predict(const Machine& machine, const MeasuredPoint& point);

ErrorSummary summarize(const std::vector<Prediction>& predictions, bool held_out);

}  // namespace doublep::sim
