// A server with continuous batching, event by event: a decode step of all running sequences, or the
// prefill of one that waits, is one event.
#pragma once

#include <functional>
#include <vector>

#include "sim/serving/requests.h"

namespace doublep::sim {

struct Server {
  /// s of a decode step of `batch` sequences whose mean context is `context`.
  std::function<double(int batch, double context)> step_seconds;
  /// s of the prefill of a prompt, index included; nothing else runs meanwhile.
  std::function<double(std::int64_t prompt)> prefill_seconds;
  /// Bytes that a sequence of so many tokens holds in the end; reserved when it is admitted.
  std::function<double(std::int64_t tokens)> sequence_bytes;
  double memory = 0;  ///< bytes for all sequences
  int most_running = 256;
};

struct ServedRequest {
  Request request;
  double admitted = 0, first_token = 0, finished = 0;  ///< s
  std::int64_t produced = 0;                           ///< tokens
};

struct ServingReport {
  std::vector<ServedRequest> served;  ///< in the order of arrival
  int rejected = 0;                   ///< too large for the memory even alone
  double seconds = 0;                 ///< until the last token
  double tokens = 0;                  ///< produced
  double tokens_per_second = 0;
  /// s between tokens of a request, after its first; NaN: no request had a second token
  double tpot_p50 = 0, tpot_p99 = 0;
  double ttft_p50 = 0, ttft_p99 = 0;  ///< s from arrival to the first token; NaN: none was served
  double peak_memory = 0;             ///< bytes of sequences
  int peak_running = 0;
  double mean_running = 0;    ///< over time, weighted
  double mean_in_system = 0;  ///< waiting or running, sampled at every event by its length
  double busy = 0;            ///< share of the time that the device works
};

/// Requests are served first come, first served; each is admitted as soon as its final size fits.
/// The first token comes with the prefill. Deterministic.
ServingReport serve(const Server& server, const std::vector<Request>& requests);

}  // namespace doublep::sim
