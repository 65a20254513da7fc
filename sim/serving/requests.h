// Who asks for what, and when: a described or a recorded stream of requests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace doublep::sim {

struct Request {
  double arrival = 0;                   ///< s
  std::int64_t prompt = 0, output = 0;  ///< tokens
};

/// Lengths: fixed, or log-normal with the given median and sigma (of the log), cut to [1, most].
struct Length {
  double median = 1;
  double sigma = 0;
  std::int64_t most = 1 << 20;
};

struct RequestPlan {
  int count = 100;
  double rate = 1;  ///< arrivals per second, Poisson; 0: all at once
  Length prompt, output;
  std::uint64_t seed = 0;
};
/// Request number i depends on the seed and i alone.
std::vector<Request> make_requests(const RequestPlan& plan);

/// CSV with the header `arrival,prompt,output`. Throws InputError "file:line: ...".
std::vector<Request> read_requests(const std::string& path);

}  // namespace doublep::sim
