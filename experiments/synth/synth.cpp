#include "experiments/synth/synth.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <sstream>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/base/stop_signal.h"
#include "core/trace/hdf5/trace_writer.h"
#include "experiments/synth/head_model.h"

namespace doublep {
namespace {

constexpr std::int64_t kRun = 32768, kPiece = 512;  // tokens written, and made by a thread, at once
constexpr HeadPattern kKinds[] = {HeadPattern::kSink, HeadPattern::kLocal, HeadPattern::kClustered,
                               HeadPattern::kDiffuse};

// Calls make(first, count, rows) over pieces of a run, and write(first, count, rows) for each run;
// rows have `d` channels.
template <class Make, class Write>
void stream_rows(const SynthOptions& options, std::int64_t d, std::vector<float>& buffer,
                 const Make& make, const Write& write) {
  for (std::int64_t first = 0; first < options.tokens; first += kRun) {
    if (StopOnSignal::requested()) throw Interrupted{};
    const std::int64_t count = std::min(kRun, options.tokens - first);
    parallel_for((count + kPiece - 1) / kPiece, [&](std::int64_t piece) {
      const std::int64_t begin = piece * kPiece;
      make(first + begin, std::min(kPiece, count - begin), buffer.data() + begin * d);
    });
    write(first, count, buffer.data());
  }
}

void require_room(const SynthOptions& options) {
  const auto folder = std::filesystem::absolute(options.output).parent_path();
  std::error_code unknown;  // a file system that does not say how much room it has
  const auto space = std::filesystem::space(folder, unknown);
  const double wanted = file_bytes(options);
  if (!unknown && wanted > static_cast<double>(space.available))
    fail_input(options.output, ": would take ", std::ceil(wanted / (1 << 20)), " MiB, but ",
               folder.string(), " has ", space.available >> 20,
               " MiB free; make room, choose fewer tokens or layers, or try all the same with "
               "--yes");
}

}  // namespace

const char* to_text(HeadPattern kind) {
  switch (kind) {
    case HeadPattern::kSink:
      return "sink";
    case HeadPattern::kLocal:
      return "local";
    case HeadPattern::kClustered:
      return "clustered";
    case HeadPattern::kDiffuse:
      return "diffuse";
  }
  return "";
}

std::vector<HeadPattern> parse_head_patterns(const std::string& text) {
  std::vector<HeadPattern> kinds;
  std::istringstream names(text);
  for (std::string name; std::getline(names, name, ',');) {
    const auto* kind = std::find_if(std::begin(kKinds), std::end(kKinds),
                                    [&](HeadPattern k) { return name == to_text(k); });
    if (kind == std::end(kKinds))
      fail_input("heads: '", name,
                 "' is no kind of head; write a list of sink, local, clustered and "
                 "diffuse, for example local,sink");
    kinds.push_back(*kind);
  }
  if (kinds.empty()) fail_input("heads: the list is empty; write for example local,sink");
  return kinds;
}

void check(const SynthOptions& o) {
  const auto at_least = [](const char* name, auto value, auto low) {
    if (!(value >= low) || !std::isfinite(static_cast<double>(value)))
      fail_input(name, ": is ", value, ", expected a number of at least ", low);
  };
  at_least("tokens", o.tokens, 1), at_least("steps", o.steps, 1), at_least("layers", o.layers, 1);
  at_least("query-heads", o.query_heads, 1), at_least("kv-heads", o.kv_heads, 1);
  at_least("head-dim", o.head_dim, 8);
  at_least("value-dim", o.value_dim, 0), at_least("prefill-queries", o.prefill_queries, 0);
  at_least("sinks", o.sinks, 0), at_least("topics", o.topics, 0);
  at_least("topics-per-query", o.topics_per_query, 1), at_least("topic-steps", o.topic_steps, 1);
  at_least("rope-base", o.rope_base, 1.0), at_least("noise", o.noise, 0.0);
  at_least("spread", o.spread, 0.0);
  for (const double logit : {o.sink_logit, o.local_logit, o.topic_logit})
    at_least("logits", logit, 0.0);
  if (o.steps > o.tokens)
    fail_input("steps: is ", o.steps, ", but there are only ", o.tokens, " tokens to decode");
  if (o.query_heads % o.kv_heads != 0)
    fail_input("query-heads: is ", o.query_heads, ", expected a multiple of kv-heads (", o.kv_heads,
               ")");
  if (o.heads.empty()) fail_input("heads: the list is empty; write for example local,sink");
  if (o.output.empty()) fail_input("output: is missing; name the file to write");
}

TraceInfo synth_info(const SynthOptions& o) {
  TraceInfo info;
  info.path = o.output;
  info.model = "synthetic: heads";
  for (int h = 0; h < o.query_heads; ++h)
    info.model +=
        concat(h ? ", " : " ", to_text(o.heads[static_cast<std::size_t>(h) % o.heads.size()]));
  info.task = "synthetic";
  info.num_query_heads = o.query_heads, info.num_kv_heads = o.kv_heads, info.head_dim = o.head_dim;
  info.value_dim = o.values_dim();
  info.num_tokens = o.tokens;
  info.softmax_scale = 1 / std::sqrt(static_cast<double>(o.head_dim));
  info.seed = static_cast<std::int64_t>(o.seed);
  for (std::int64_t t = 0; t < o.steps; ++t) info.positions.push_back(o.tokens - o.steps + t);
  for (int layer = 0; layer < o.layers; ++layer) info.layers.push_back(layer);
  return info;
}

double file_bytes(const SynthOptions& o) {
  const double element = o.type == StoredType::kFloat32 ? 4 : 2;
  const double prompt = static_cast<double>(std::min(o.prefill_queries, o.tokens - o.steps));
  const double cache = static_cast<double>(o.kv_heads) * static_cast<double>(o.tokens) *
                       (o.head_dim + o.values_dim());
  const double queries =
      static_cast<double>(o.query_heads) * o.head_dim * (static_cast<double>(o.steps) + prompt);
  return element * o.layers * (cache + queries) + 8 * static_cast<double>(o.steps);
}

void write_synth(const SynthOptions& options) {
  check(options);
  if (!options.beyond_disk) require_room(options);
  const TraceInfo info = synth_info(options);
  const std::int64_t d = options.head_dim, dv = options.values_dim();
  const std::int64_t prompt = std::min(options.prefill_queries, info.positions[0]);
  TraceWriter writer(info, options.type);
  std::vector<float> buffer(std::min(kRun, options.tokens) * std::max(d, dv));
  std::vector<float> queries((prompt + options.steps) * options.query_heads * d);
  for (int layer = 0; layer < options.layers; ++layer) {
    writer.begin_layer(layer);
    for (int kv_head = 0; kv_head < options.kv_heads; ++kv_head) {
      const HeadModel head(options, layer, kv_head);
      stream_rows(
          options, d, buffer, [&](auto... run) { head.keys(run...); },
          [&](auto... run) { writer.write_keys(kv_head, run...); });
      stream_rows(
          options, dv, buffer, [&](auto... run) { head.values(run...); },
          [&](auto... run) { writer.write_values(kv_head, run...); });
      const int group = info.group_size();
      parallel_for(prompt + options.steps, [&](std::int64_t t) {  // positions are consecutive
        const std::int64_t position = info.positions[0] - prompt + t;
        for (int h = kv_head * group; h < (kv_head + 1) * group; ++h)
          head.query(h, t - prompt, position, queries.data() + (t * options.query_heads + h) * d);
      });
    }
    if (prompt > 0) writer.write_prefill_queries(prompt, queries.data());
    writer.write_queries(queries.data() + prompt * options.query_heads * d);
  }
  writer.finish();
}

}  // namespace doublep
