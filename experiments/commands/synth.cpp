// doublep synth: makes a kv-trace of any length with known structure.
#include "experiments/synth/synth.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <memory>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/base/stop_signal.h"
#include "experiments/commands/commands.h"

namespace doublep {
namespace {

struct Arguments {
  SynthOptions options;
  std::string type = "float16", heads;
  int threads = 0;
};

void synth(Arguments arguments) {
  if (arguments.threads > 0) set_num_threads(arguments.threads);
  SynthOptions& o = arguments.options;
  static const std::map<std::string, StoredType> types = {{"float16", StoredType::kFloat16},
                                                          {"bfloat16", StoredType::kBfloat16},
                                                          {"float32", StoredType::kFloat32}};
  const auto type = types.find(arguments.type);
  if (type == types.end())
    fail_input("type: '", arguments.type, "' is not known; expected float16, bfloat16 or float32");
  o.type = type->second;
  if (!arguments.heads.empty()) o.heads = parse_head_patterns(arguments.heads);
  const StopOnSignal guard;
  try {
    write_synth(o);
  } catch (const Interrupted&) {
    std::cerr << "interrupted: nothing of " << o.output << " is kept\n";
    throw ExitWith{130};
  }
  std::cout << o.output << ": " << o.layers << " layers, " << o.query_heads << " query and "
            << o.kv_heads << " KV heads of " << o.head_dim << ", " << o.tokens << " tokens, "
            << o.steps << " steps, " << arguments.type << ", seed " << o.seed << '\n';
}

}  // namespace

void add_synth(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  SynthOptions& o = arguments->options;
  auto* command = app.add_subcommand("synth", "Make a kv-trace of any length with known structure");
  const auto option = [&](const char* name, auto& value, const char* meaning) {
    return command->add_option(name, value, meaning)->capture_default_str();
  };
  command->add_option("-o,--output", o.output, "file to write")->required();
  option("--tokens", o.tokens, "keys per KV head");
  option("--steps", o.steps, "decode steps: the last so many tokens");
  option("--layers", o.layers, "layers");
  option("--query-heads", o.query_heads, "query heads, a multiple of the KV heads");
  option("--kv-heads", o.kv_heads, "KV heads");
  option("--head-dim", o.head_dim, "channels of a head, at least 8");
  option("--value-dim", o.value_dim, "channels of a value; 0 = as many (MLA: 512 to 576)");
  option("--prefill-queries", o.prefill_queries,
         "queries of the prompt's last positions to store; fewer where the prompt is shorter");
  option("--type", arguments->type, "float16, bfloat16 or float32");
  option("--seed", o.seed, "another seed, another trace of the same kind");
  command->add_option(
      "--heads", arguments->heads,
      "kinds of the query heads, repeated as needed: sink, local, clustered, diffuse "
      "[local,clustered,local,sink,local,clustered,local,diffuse]");
  option("--sinks", o.sinks, "tokens that sink heads look at");
  option("--sink-logit", o.sink_logit, "logit of those over the background");
  option("--local-logit", o.local_logit, "logit of the newest token in a local head");
  option("--rope-base", o.rope_base, "the slowest locality frequency is 1/rope-base");
  option("--topics", o.topics, "centres that keys lie about; 0 = square root of tokens");
  option("--topics-per-query", o.topics_per_query, "topics that a clustered head looks at");
  option("--topic-logit", o.topic_logit, "logit of the first of them; the r-th is weighted 1/r");
  option("--topic-steps", o.topic_steps, "steps after which it turns to others");
  option("--spread", o.spread, "standard deviation of background logits");
  option("--noise", o.noise, "spread of keys about their topic, over that of the topics");
  command->add_flag("--yes", o.beyond_disk, "write even where the disk has no room for all of it");
  option("--threads", arguments->threads, "0 = all cores; the file does not depend on it");
  command->callback([arguments] { synth(*arguments); });
}

}  // namespace doublep
