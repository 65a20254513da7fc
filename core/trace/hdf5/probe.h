// A fence around libhdf5: what may crash or never return is tried in a process of its own.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace doublep::h5 {

struct ProbeLimits {
  double cpu_seconds = 2;            ///< that the reading may compute
  std::size_t memory = 96ull << 20;  ///< bytes that it may take beyond what the program has
};

/// Runs `read` in a forked child under the limits, throws away what it made, and returns when it
/// went well: the same reading may then be done here. Throws InputError: the one that `read` threw,
/// or one that says that `path` is damaged where the child crashed or did not come to an end.
/// Throws std::bad_alloc where the child failed and the program itself may not take limits.memory
/// more: then nobody can say what it died of.
///
/// Why: on damaged metadata libhdf5 (1.10, and later ones) loops for ever or crashes, nearly always
/// in its heap of variable-length strings and in chunk indexes, and a library cannot be interrupted
/// from within its process. A child costs about a millisecond. It reads metadata, and data that
/// pass through filters; plain data are read by a system call and cannot do that.
///
/// The child has this thread only: `read` opens its own files, computes by itself (parallel_for
/// runs serially there) and must take no lock that another thread may hold. Where no process can be
/// made (a limit), `read` is not tried: the fence is missing, and nothing else.
void probe(const std::string& path, const std::function<void()>& read,
           const ProbeLimits& limits = {});

}  // namespace doublep::h5
