// A synthetic trace holds the structure that it claims, and is the same file every time.
#include "experiments/synth/synth.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <set>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/base/parallel.h"
#include "core/cache/logits.h"
#include "experiments/inspect/statistics.h"
#include "experiments/synth/head_model.h"
#include "tests/catch.h"

namespace doublep {
namespace {

// A file that goes away with the test.
struct Output {
  explicit Output(const std::string& name)
      : path(
            (std::filesystem::temp_directory_path() / ("doublep-synth-" + name + ".h5")).string()) {
  }
  ~Output() { std::filesystem::remove(path); }
  std::string path;
};

SynthOptions small(const Output& output) {
  SynthOptions options;
  options.tokens = 2048, options.steps = 8, options.output = output.path;
  return options;
}

// Mass of a clustered head on the tokens of the topics it looks at, mean over steps.
double topic_mass(const Trace& trace, const SynthOptions& options, int head) {
  const int kv_head = head / trace.info().group_size();
  const HeadModel model(options, 0, kv_head);
  const TraceLayer data = trace.read_layer(0);
  double mass = 0;
  for (std::int64_t t = 0; t < options.steps; ++t) {
    const auto topics = model.topics_of_query(head, t);
    const std::set<std::int64_t> wanted(topics.begin(), topics.end());
    const KvHead cache = trace.cache(data).first(trace.info().positions[t] + 1).head(kv_head);
    const MatrixD logits =
        exact_logits(trace.queries(data, t).group(kv_head, options.kv_heads), cache);
    const auto row = logits.row(head % trace.info().group_size()).array();
    const double max = row.maxCoeff(), total = (row - max).exp().sum();
    for (std::int64_t j = 0; j < cache.length; ++j)
      if (wanted.count(model.topic_of(j))) mass += std::exp(row[j] - max) / total;
  }
  return mass / static_cast<double>(options.steps);
}

TEST_CASE("a head's mass lies where its kind says", "[synth]") {
  const Output output("kinds");
  SynthOptions options = small(output);
  options.heads = {HeadPattern::kSink, HeadPattern::kLocal, HeadPattern::kClustered, HeadPattern::kDiffuse};
  options.tokens = GENERATE(1024, 4096, 32768);
  options.head_dim = GENERATE(64, 128);
  options.layers = 1, options.steps = 4;
  write_synth(options);
  const Trace trace = Trace::open(output.path);
  const auto heads = inspect_layer(trace, 0, {});
  const double n = static_cast<double>(options.tokens);
  for (const HeadStatistics& s : heads) {
    CAPTURE(options.tokens, options.head_dim, s.head, s.sink_mass, s.window_mass, s.tokens_80,
            s.tokens_95);
    const HeadPattern kind = options.heads[static_cast<std::size_t>(s.head) % 4];
    if (kind == HeadPattern::kSink)
      CHECK(s.sink_mass > 0.4);
    else
      CHECK(s.sink_mass < 0.15);
    if (kind == HeadPattern::kLocal)
      CHECK(s.window_mass > 0.4);
    else
      CHECK(s.window_mass < 0.2);
    if (kind == HeadPattern::kClustered) {
      const double mass = topic_mass(trace, options, s.head);
      CAPTURE(mass);
      CHECK(mass > 0.35);  // these topics hold about 2 % of the tokens
      CHECK(s.tokens_80 < 0.12 * n);
    }
    if (kind == HeadPattern::kDiffuse)
      CHECK(s.tokens_80 > 0.2 * n);
    else
      CHECK(s.tokens_80 < 0.2 * n);
  }
}

TEST_CASE("the defaults resemble the recorded traces", "[synth]") {
  // Recorded, as inspect prints them (mean over heads; needle-4k, code-8k, needle-16k): 95 % of the
  // mass in 373, 609, 4431 tokens; sink and window 0.62, 0.62, 0.46; ratio of cluster masses 0.29,
  // 0.42, 0.52.
  const Output output("defaults");
  SynthOptions options;
  options.output = output.path;
  write_synth(options);
  const Trace trace = Trace::open(output.path);
  InspectOptions inspect;
  inspect.tokens_per_cluster = 16;
  double tokens = 0, near = 0, jensen = 0;
  for (int layer : trace.info().layers)
    for (const auto& s : inspect_layer(trace, layer, inspect))
      tokens += s.tokens_95 / 16, near += (s.sink_mass + s.window_mass) / 16,
          jensen += s.jensen / 16;
  CHECK(tokens == Approx(700).margin(200));
  CHECK(near == Approx(0.5).margin(0.1));
  CHECK(jensen == Approx(0.36).margin(0.08));
}

TEST_CASE("the same options make the same bytes on any number of threads", "[synth]") {
  const Output output("bytes");
  SynthOptions options = small(output);
  options.type = GENERATE(StoredType::kFloat16, StoredType::kBfloat16, StoredType::kFloat32);
  const auto hash = [&](int threads) {
    set_num_threads(threads);
    write_synth(options);
    return hash_file(output.path);
  };
  const int before = num_threads();
  const std::string one = hash(1), three = hash(3), again = hash(1);
  options.seed = 1;
  const std::string other = hash(1);
  set_num_threads(before);
  CHECK(one == three);
  CHECK(one == again);
  CHECK(one != other);
}

TEST_CASE("any run of tokens is the same as within the whole", "[synth]") {
  SynthOptions options;
  options.tokens = 300, options.head_dim = 80;
  const HeadModel head(options, 1, 0), other(options, 1, 1);
  std::vector<float> whole(300 * 80), part(7 * 80), another(300 * 80);
  head.keys(0, 300, whole.data());
  head.keys(200, 7, part.data());
  other.keys(0, 300, another.data());
  CHECK(std::equal(part.begin(), part.end(), whole.begin() + 200 * 80));
  CHECK(whole != another);
  head.values(0, 300, whole.data());
  head.values(200, 7, part.data());
  CHECK(std::equal(part.begin(), part.end(), whole.begin() + 200 * 80));
}

TEST_CASE("the smallest shapes are valid traces", "[synth]") {
  const Output output("tiny");
  SynthOptions options = small(output);
  options.tokens = 1, options.steps = 1, options.layers = 1;
  options.query_heads = 1, options.kv_heads = 1, options.head_dim = 8;
  write_synth(options);
  const Trace trace = Trace::open(output.path);
  CHECK(trace.info().positions == std::vector<std::int64_t>{0});
  CHECK(inspect_layer(trace, 0, {}).at(0).max_weight == 1);
}

TEST_CASE("options out of range are refused before anything is written", "[synth]") {
  const Output output("refused");
  const std::vector<std::function<void(SynthOptions&)>> breaks = {
      [](SynthOptions& o) { o.tokens = 0; },      [](SynthOptions& o) { o.steps = 4097; },
      [](SynthOptions& o) { o.query_heads = 3; }, [](SynthOptions& o) { o.head_dim = 7; },
      [](SynthOptions& o) { o.noise = -1; },      [](SynthOptions& o) { o.spread = NAN; },
      [](SynthOptions& o) { o.heads.clear(); },   [](SynthOptions& o) { o.layers = 0; },
      [](SynthOptions& o) { o.topic_steps = 0; }, [](SynthOptions& o) { o.output.clear(); }};
  for (const auto& break_it : breaks) {
    SynthOptions options = small(output);
    break_it(options);
    CHECK_THROWS_AS(write_synth(options), InputError);
  }
  CHECK_FALSE(std::filesystem::exists(output.path));
  CHECK(parse_head_patterns("sink,diffuse").size() == 2);
  CHECK_THROWS_AS(parse_head_patterns("sinks"), InputError);
  CHECK_THROWS_AS(parse_head_patterns(""), InputError);
}

}  // namespace
}  // namespace doublep
