// Makes a kv-trace of any length with known structure. The defaults give statistics near the
// recorded traces'.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/trace/tensor.h"
#include "core/trace/trace.h"

namespace doublep {

/// Where a query head's mass lies. Every head has a little of everything; its kind outweighs it.
enum class HeadPattern {
  kSink,       ///< on the first tokens
  kLocal,      ///< on the latest tokens, decaying with distance
  kClustered,  ///< on the tokens of a few topics, a heavy tail of relevance among them
  kDiffuse,    ///< on everything, nearly evenly
};
const char* to_text(HeadPattern kind);
/// "local,sink" -> kinds. Throws InputError that lists the names.
std::vector<HeadPattern> parse_head_patterns(const std::string& text);

/// Logits are natural logarithms of weight, over a background whose logits have mean 0. Those of
/// sinks and the newest token are meant for 4096 tokens, those of topics for 64 of them: log(tokens
/// / 4096) and log(topics / 64) are added, so that a head keeps its kind at any length.
struct SynthOptions {
  std::int64_t tokens = 4096, steps = 32;
  int layers = 2, query_heads = 8, kv_heads = 2, head_dim = 128;
  int value_dim = 0;                   ///< channels of a value; 0 = head_dim
  std::int64_t prefill_queries = 256;  ///< of the prompt's last positions; fewer where it is short

  int values_dim() const { return value_dim > 0 ? value_dim : head_dim; }
  StoredType type = StoredType::kFloat16;
  std::uint64_t seed = 0;
  std::string output;
  bool beyond_disk = false;  ///< write even where the disk has no room for all of it

  /// Query head h of every layer is of kind heads[h mod size].
  std::vector<HeadPattern> heads = {
      HeadPattern::kLocal, HeadPattern::kClustered, HeadPattern::kLocal, HeadPattern::kSink,
      HeadPattern::kLocal, HeadPattern::kClustered, HeadPattern::kLocal, HeadPattern::kDiffuse};
  std::int64_t sinks = 4;     ///< tokens that sink heads look at
  double sink_logit = 9.0;    ///< of those, in a sink head
  double local_logit = 18.0;  ///< of the newest token, in a local head
  double rope_base = 500000;  ///< slowest locality frequency: 1/rope_base radians a token
  std::int64_t topics = 0;    ///< keys lie about so many centres; sizes vary; 0 = sqrt(tokens)
  int topics_per_query = 4;   ///< that a clustered head looks at; its r-th is weighted 1/r
  double topic_logit = 6.5;   ///< of the first of them
  double spread = 1.3;        ///< standard deviation of background logits, all heads
  double noise = 0.8;         ///< of a key about its topic, over the topics' own spread
  int topic_steps = 4;        ///< steps after which a head turns to other topics
};

/// Throws InputError that names the option and what it expects.
void check(const SynthOptions& options);

/// Bytes of the file, but for a few kilobytes of HDF5's own.
double file_bytes(const SynthOptions& options);

/// Attributes and positions of the trace that the options describe: the last `steps` tokens are
/// decoded, the others are the prompt.
TraceInfo synth_info(const SynthOptions& options);

/// Writes options.output; the same bytes for the same options, on any number of threads. Memory: a
/// few thousand tokens and the queries of one layer, whatever the length. Throws InputError where
/// the disk has no room for it, unless `beyond_disk`, and Interrupted once StopOnSignal was asked
/// to; neither leaves anything behind.
void write_synth(const SynthOptions& options);

}  // namespace doublep
