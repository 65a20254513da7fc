#include "sim/serving/requests.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/random.h"

namespace doublep::sim {
namespace {

std::int64_t draw(const Length& length, double normal) {
  const double x = length.median * std::exp(length.sigma * normal);
  return std::clamp<std::int64_t>(std::llround(x), 1, length.most);
}

}  // namespace

std::vector<Request> make_requests(const RequestPlan& plan) {
  std::vector<Request> requests;
  const CounterRng gaps(plan.seed, 1), prompts(plan.seed, 2), outputs(plan.seed, 3);
  double now = 0;
  for (int i = 0; i < plan.count; ++i) {
    if (plan.rate > 0) now += -std::log(1 - gaps.uniform(i)) / plan.rate;
    requests.push_back(
        {now, draw(plan.prompt, prompts.normal(i)), draw(plan.output, outputs.normal(i))});
  }
  return requests;
}

std::vector<Request> read_requests(const std::string& path) {
  require_regular_file(path);
  std::ifstream in(path);
  std::vector<Request> requests;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (number == 1) {
      if (line != "arrival,prompt,output")
        fail_input(path, ":1: expected the header 'arrival,prompt,output'");
      continue;
    }
    if (line.empty()) continue;
    std::istringstream fields(line);
    Request r;
    char comma1 = 0, comma2 = 0;
    std::string rest;
    if (!(fields >> r.arrival >> comma1 >> r.prompt >> comma2 >> r.output) || comma1 != ',' ||
        comma2 != ',' || (fields >> rest) || r.arrival < 0 || r.prompt < 1 || r.output < 1)
      fail_input(path, ":", number, ": expected seconds,tokens,tokens (at least 0, 1, 1), not '",
                 line, "'");
    if (!requests.empty() && r.arrival < requests.back().arrival)
      fail_input(path, ":", number, ": arrivals must not decrease; sort the file");
    requests.push_back(r);
  }
  if (requests.empty()) fail_input(path, ": holds no requests");
  return requests;
}

}  // namespace doublep::sim
