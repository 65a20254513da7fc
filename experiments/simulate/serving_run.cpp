#include <algorithm>
#include <cmath>
#include <map>

#include "core/base/error.h"
#include "experiments/simulate/simulation.h"
#include "sim/decode/decode.h"

namespace doublep::sim {
namespace {

// Decode steps at a grid of batches and contexts (powers of two, and half way between), and between
// them by bilinear interpolation: a step's time is close to a plane there, and a run has millions.
class StepTable {
 public:
  StepTable(const Model& model, const Machine& machine, const Workload& workload,
            const DecodePoint& setting)
      : model_(model), machine_(machine), workload_(workload), point_(setting) {}

  double at(int batch, double context) {
    const double b = 2 * std::log2(batch), c = 2 * std::log2(std::max(context, 16.0));
    const int b0 = static_cast<int>(b), c0 = static_cast<int>(c);
    const double low = mix(b0, c0, batch, b), high = mix(b0, c0 + 1, batch, b);
    const double x0 = std::exp2(0.5 * c0), x1 = std::exp2(0.5 * (c0 + 1));
    return low + (high - low) * (std::max(context, 16.0) - x0) / (x1 - x0);
  }

 private:
  static int batch_at(int place) {
    return static_cast<int>(std::ceil(std::exp2(0.5 * place) - 1e-9));
  }
  double mix(int b0, int c, int batch, double) {
    int low = batch_at(b0), high = batch_at(b0 + 1);
    if (low > batch) low = batch_at(b0 - 1), high = batch_at(b0), --b0;
    const double a = cell(b0, c);
    if (high == low) return a;
    return a + (cell(b0 + 1, c) - a) * (batch - low) / static_cast<double>(high - low);
  }
  double cell(int b, int c) {
    const auto [found, fresh] = cells_.try_emplace({b, c}, 0.0);
    if (fresh) {
      point_.batch = batch_at(b);
      point_.context = std::llround(std::exp2(0.5 * c));
      found->second = decode_step(model_, machine_, workload_, point_).seconds;
    }
    return found->second;
  }

  const Model& model_;
  const Machine& machine_;
  const Workload& workload_;
  DecodePoint point_;
  std::map<std::pair<int, int>, double> cells_;
};

// Whether an event of the largest request takes a time at all.
bool finite(const Server& server, const std::vector<Request>& requests) {
  Request most;
  for (const Request& r : requests) {
    most.prompt = std::max(most.prompt, r.prompt);
    most.output = std::max(most.output, r.output);
  }
  const std::int64_t tokens = most.prompt + most.output;
  const double seconds = server.prefill_seconds(most.prompt) +
                         server.step_seconds(1, static_cast<double>(tokens)) +
                         server.step_seconds(server.most_running, static_cast<double>(tokens));
  return std::isfinite(seconds + server.sequence_bytes(tokens) + server.memory);
}

}  // namespace

std::vector<ServingResult> run_serving(const ServingPlan& plan, const Model& model,
                                       const Machine& machine, const Workload& workload,
                                       const Coverage& coverage) {
  StepTable table(model, machine, workload, plan.setting);
  DecodePoint point = plan.setting;
  point.batch = 1;
  Server server;
  server.most_running = plan.most_running;
  server.memory = point.memory_share * machine.hardware.memory_capacity.value -
                  model.weight_bytes() / point.tensor_parallel;
  server.step_seconds = [&](int batch, double context) { return table.at(batch, context); };
  server.prefill_seconds = [&](std::int64_t prompt) {
    return prefill_seconds(model, machine, prompt, point.tensor_parallel) +
           build_seconds(model, machine, workload, prompt, point.tensor_parallel);
  };
  server.sequence_bytes = [&](std::int64_t tokens) {
    point.context = tokens;
    return sequence_bytes(model, workload, point);
  };
  std::vector<ServingResult> results;
  for (double rate : plan.rates) {
    RequestPlan wanted = plan.requests;
    wanted.rate = rate;
    const auto requests =
        plan.recorded.empty() ? make_requests(wanted) : read_requests(plan.recorded);
    ServingResult result;
    result.rate = rate, result.requests = static_cast<int>(requests.size());
    if (!finite(server, requests)) {
      result.report.seconds = std::nan("");  // find_overflow() tells of it
      results.push_back(std::move(result));
      continue;
    }
    result.report = serve(server, requests);
    for (const ServedRequest& r : result.report.served) {
      DecodePoint reached = point;
      reached.context = r.request.prompt + r.request.output;
      reached.batch = std::max(1, result.report.peak_running);
      result.extrapolated |= extrapolations(model, workload, reached, coverage);
    }
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace doublep::sim
