// A machine as its data sheet and our measurements describe it. Every figure names its source.
#pragma once

#include <map>
#include <optional>
#include <string>

namespace doublep::sim {

/// One figure and the key of its source in Hardware::sources. `assumption` is a source too: a
/// figure that nobody published, whose reason stands under that key.
struct Figure {
  double value = 0;
  std::string source;
};

struct Hardware {
  std::string name;                            ///< of the file, e.g. h100-sxm
  std::string title;                           ///< for people
  Figure memory_capacity;                      ///< bytes
  Figure memory_bandwidth;                     ///< bytes/s, data sheet
  std::optional<Figure> achieved_bandwidth;    ///< bytes/s, the best read loop measured
  Figure processors;                           ///< SMs, compute units or cores
  std::optional<Figure> shared_memory;         ///< bytes of a processor's own memory
  Figure launch_overhead;                      ///< s between dependent kernels of a graph
  Figure host_link_bandwidth;                  ///< bytes/s from the host, one direction
  Figure interconnect_bandwidth;               ///< bytes/s to peers, one direction; 0 = none
  Figure interconnect_latency;                 ///< s of an all-reduce of no bytes
  std::map<std::string, Figure> compute;       ///< FLOP/s, dense, by type: bf16, fp16, fp8, fp32
  std::map<std::string, std::string> sources;  ///< key -> where it stands

  /// What a read loop reaches: measured, or else the data sheet times kUnmeasuredShare.
  double bandwidth() const;
  /// Shared memory of a processor; where none is given, that of the H100, whose searches are
  /// fitted.
  double shared_bytes() const { return shared_memory ? shared_memory->value : 228e3; }
  /// FLOP/s of a type; a type without units of its own runs at the rate of the next wider one.
  double flops(const std::string& dtype) const;
};

/// Share of the data sheet that a machine without a measurement is taken to reach: that of the H100
/// SXM on which we measured (3.184 of 3.35 TB/s).
inline constexpr double kUnmeasuredShare = 3.184 / 3.35;

/// What-if factors on a machine's figures; 1 leaves it as it is.
struct Scale {
  std::string name;
  double memory_bandwidth = 1, compute = 1, host_link = 1, interconnect = 1, memory_capacity = 1,
         launch_overhead = 1;
};
Hardware scaled(Hardware hardware, const Scale& scale);

}  // namespace doublep::sim
