// The benchmark's table and JSON.
#pragma once

#include "experiments/bench/bench.h"

namespace doublep::bench {

struct BenchReport {
  std::string device, caches;
  double ceiling = 0;   ///< bytes per second read
  double floor_us = 0;  ///< a graph with one empty launch
  std::vector<TimedPoint> points;
};

void print_header(const BenchReport& report, const RecordedHeads& heads, std::ostream& out);
void print_point(const TimedPoint& point, std::ostream& out);
void write_json(const BenchReport& report, const RecordedHeads& heads, const std::string& path);

}  // namespace doublep::bench
