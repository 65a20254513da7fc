// The keys, values and queries of one synthetic KV head. Every number is a pure function of the
// options, layer, head and position: any run of tokens can be made on its own, by any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/matrix.h"
#include "core/base/random.h"
#include "experiments/synth/synth.h"

namespace doublep {

/// Channels of a key, so that logits can be set apart: channel 0 marks sinks; then pairs that turn
/// with the position, as RoPE does, whose product with the query's falls with distance; the rest
/// holds the topic's centre plus noise.
class HeadModel {
 public:
  HeadModel(const SynthOptions& options, int layer, int kv_head);

  /// float32 [count, head_dim] of the tokens first, first + 1, ...
  void keys(std::int64_t first, std::int64_t count, float* rows) const;
  /// float32 [count, value_dim]
  void values(std::int64_t first, std::int64_t count, float* rows) const;
  /// float32 [head_dim]; `query_head` of the layer, at the token `position`. Steps below 0 are
  /// those of the prompt: step -1 is its last position before step 0.
  void query(int query_head, std::int64_t step, std::int64_t position, float* row) const;

  std::int64_t num_topics() const { return centres_.rows(); }
  std::int64_t topic_of(std::int64_t token) const;
  /// Those that a clustered query head looks at, most relevant first; may repeat.
  std::vector<std::int64_t> topics_of_query(int query_head, std::int64_t step) const;
  HeadPattern kind(int query_head) const;

 private:
  CounterRng stream(int purpose, std::uint64_t item = 0) const;

  SynthOptions options_;
  std::uint64_t place_;              ///< of layer and KV head
  std::int64_t pairs_, content_;     ///< turning pairs; first channel of the topic part
  std::vector<double> frequencies_;  ///< [pairs]
  MatrixF centres_;                  ///< [topics, channels of the topic part]
};

}  // namespace doublep
