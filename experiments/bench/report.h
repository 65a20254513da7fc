// The benchmark's table and JSON.
#pragma once

#include "experiments/bench/bench.h"
#include "experiments/bench/workload.h"

namespace doublep::bench {

struct Report {
  const BenchOptions& options;
  std::string device, caches;
  double ceiling = 0;   ///< bytes per second read
  double floor_us = 0;  ///< a graph with one empty launch
  std::vector<Point> points;
};

void print_header(const Report& report, const Workload& workload, std::ostream& out);
void print_point(const Point& point, std::ostream& out);
void write_json(const Report& report, const Workload& workload, const std::string& path);

}  // namespace doublep::bench
