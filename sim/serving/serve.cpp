#include "sim/serving/serve.h"

#include <algorithm>
#include <cmath>
#include <deque>

#include "core/base/error.h"
#include "core/base/quantile.h"

namespace doublep::sim {
namespace {

class Simulation {
 public:
  Simulation(const Server& server, const std::vector<Request>& requests)
      : server_(server), requests_(requests) {}

  ServingReport run() {
    while (next_ < requests_.size() || !waiting_.empty() || !running_.empty()) {
      arrive();
      if (admit()) continue;
      if (!running_.empty())
        decode();
      else if (next_ < requests_.size())
        idle_until(requests_[next_].arrival);
    }
    return finish();
  }

 private:
  void arrive() {
    for (; next_ < requests_.size() && requests_[next_].arrival <= now_; ++next_) {
      const Request& r = requests_[next_];
      if (server_.sequence_bytes(r.prompt + r.output) > server_.memory) {
        ++report_.rejected;
        continue;
      }
      waiting_.push_back(report_.served.size());
      report_.served.push_back({r});
    }
  }

  // Starts the first that waits, if it fits; its prefill is the event.
  bool admit() {
    if (waiting_.empty() || static_cast<int>(running_.size()) >= server_.most_running) return false;
    const std::size_t id = waiting_.front();
    ServedRequest& r = report_.served[id];
    const double bytes = server_.sequence_bytes(r.request.prompt + r.request.output);
    if (held_ + bytes > server_.memory) return false;
    waiting_.pop_front();
    running_.push_back(id);
    held_ += bytes;
    report_.peak_memory = std::max(report_.peak_memory, held_);
    report_.peak_running = std::max(report_.peak_running, static_cast<int>(running_.size()));
    r.admitted = now_;
    work(server_.prefill_seconds(r.request.prompt));
    r.first_token = now_;
    produce(id);
    retire();
    return true;
  }

  void decode() {
    double context = 0;
    for (std::size_t id : running_) {
      const ServedRequest& r = report_.served[id];
      context += static_cast<double>(r.request.prompt + r.produced);
    }
    const int batch = static_cast<int>(running_.size());
    work(server_.step_seconds(batch, context / batch));
    for (std::size_t id : running_) produce(id);
    retire();
  }

  void produce(std::size_t id) {
    ++report_.served[id].produced;
    report_.tokens += 1;
  }

  void retire() {
    std::erase_if(running_, [&](std::size_t id) {
      ServedRequest& r = report_.served[id];
      if (r.produced < r.request.output) return false;
      r.finished = now_;
      held_ -= server_.sequence_bytes(r.request.prompt + r.request.output);
      return true;
    });
  }

  // The device works; arrivals meanwhile count from their own moment on.
  void work(double seconds) {
    DP_ASSERT(seconds >= 0 && std::isfinite(seconds), "an event takes ", seconds, " s");
    in_system_ += seconds * static_cast<double>(waiting_.size() + running_.size());
    running_time_ += seconds * static_cast<double>(running_.size());
    for (std::size_t i = next_; i < requests_.size() && requests_[i].arrival < now_ + seconds; ++i)
      if (server_.sequence_bytes(requests_[i].prompt + requests_[i].output) <= server_.memory)
        in_system_ += now_ + seconds - requests_[i].arrival;
    busy_ += seconds;
    now_ += seconds;
  }

  // Nobody is in the system: only the clock moves. Set, not added: no rounding keeps it short.
  void idle_until(double arrival) { now_ = arrival; }

  ServingReport finish() {
    std::vector<double> tpot, ttft;
    for (const ServedRequest& r : report_.served) {
      ttft.push_back(r.first_token - r.request.arrival);
      if (r.request.output > 1)
        tpot.push_back((r.finished - r.first_token) / static_cast<double>(r.request.output - 1));
    }
    report_.seconds = now_;
    report_.tokens_per_second = now_ > 0 ? report_.tokens / now_ : 0;
    report_.tpot_p50 = quantile(tpot, 0.5), report_.tpot_p99 = quantile(tpot, 0.99);
    report_.ttft_p50 = quantile(ttft, 0.5), report_.ttft_p99 = quantile(ttft, 0.99);
    if (now_ > 0) {
      report_.mean_in_system = in_system_ / now_;
      report_.mean_running = running_time_ / now_;
      report_.busy = busy_ / now_;
    }
    return std::move(report_);
  }

  const Server& server_;
  const std::vector<Request>& requests_;
  ServingReport report_;
  std::deque<std::size_t> waiting_;
  std::vector<std::size_t> running_;
  std::size_t next_ = 0;
  double now_ = 0, held_ = 0, in_system_ = 0, running_time_ = 0, busy_ = 0;
};

}  // namespace

ServingReport serve(const Server& server, const std::vector<Request>& requests) {
  return Simulation(server, requests).run();
}

}  // namespace doublep::sim
