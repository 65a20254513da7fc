// Machines, models and workloads whose numbers can be worked out by hand.
#pragma once

#include "core/base/error.h"
#include "sim/decode/decode.h"

namespace doublep::sim::test {

inline Hardware simple_hardware() {
  Hardware h;
  h.name = h.title = "simple";
  h.sources = {{"made up", "round numbers"}};
  const auto figure = [](double value) { return Figure{value, "made up"}; };
  h.memory_capacity = figure(80e9), h.memory_bandwidth = figure(2e12);
  h.achieved_bandwidth = figure(1e12);
  h.processors = figure(100);
  h.launch_overhead = figure(1e-6), h.host_link_bandwidth = figure(50e9);
  h.interconnect_bandwidth = figure(400e9), h.interconnect_latency = figure(5e-6);
  h.compute = {{"bf16", figure(1e15)}, {"fp32", figure(1e14)}};
  return h;
}

inline Model simple_model() {
  Model m;
  m.name = m.title = "simple";
  m.layers = 4, m.query_heads = 8, m.kv_heads = 2, m.head_dim = 128;
  m.hidden = 1024, m.ffn = 4096, m.vocabulary = 32000;
  return m;
}

/// A profile whose quantities per row are given: every row alike but for `spread`, which makes head
/// and step differ by +-spread.
inline Profile simple_profile(std::int64_t context, double tokens, double estimate_bytes,
                              double spread = 0) {
  Profile p;
  p.policy = "made", p.parameters = "{}", p.trace = "made", p.trace_hash = "0";
  p.group_size = 4, p.head_dim = 128, p.kv_heads = 2, p.context = context;
  for (int layer = 0; layer < 2; ++layer)
    for (int step = 0; step < 4; ++step)
      for (int head = 0; head < 2; ++head) {
        ProfileRow row;
        row.layer = layer, row.kv_head = head, row.step = step, row.visible_tokens = context;
        const double factor = 1 + spread * ((layer + head + step) % 2 ? 1 : -1);
        row.tokens = row.widest_head = tokens * factor;
        row.bytes = {0, estimate_bytes, estimate_bytes > 0 ? 64.0 : 0, row.tokens * 512};
        row.flops = {0, estimate_bytes * 4, 0, row.tokens * 512 * 4};
        p.rows.push_back(row);
      }
  p.hits = {{0.01, 0.5}, {0.1, 0.9}, {1, 0.99}};
  p.index.build.flops = estimate_bytes > 0 ? 1e9 : 0;
  p.index.memory_bytes = estimate_bytes;
  return p;
}

inline Workload simple_workload(double spread = 0) {
  return Workload("made", {simple_profile(4096, 400, 65536, spread),
                           simple_profile(16384, 800, 262144, spread)});
}
inline Workload dense_workload() {
  return Workload("made", {simple_profile(4096, 4096, 0), simple_profile(16384, 16384, 0)});
}

inline DecodePoint simple_point(std::int64_t context = 16384, int batch = 1) {
  DecodePoint point;
  point.context = context, point.batch = batch;
  return point;
}

inline double part(const DecodeCost& cost, const std::string& name) {
  for (const Part& p : cost.parts)
    if (p.name == name) return p.seconds;
  return 0;
}

}  // namespace doublep::sim::test
