#include <algorithm>
#include <iterator>

#include "core/base/error.h"
#include "core/decoder/reference_decoder.h"
#include "core/index/segments.h"
#include "core/metrics/step_metrics.h"
#include "core/selection/selection.h"
#include "sim/cost/roofline.h"
#include "sim/profile/profile.h"

namespace doublep::sim {
namespace {

constexpr double kCacheShares[] = {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0};

std::vector<std::int32_t> union_of_tokens(const StepResult& step, int first, int count) {
  std::vector<std::int32_t> tokens;
  for (int h = first; h < first + count; ++h) unite(tokens, step.selections[h].tokens);
  return tokens;
}

ProfileRow row_of(const StepResult& step, int first, int count, double tokens) {
  ProfileRow row;
  row.tokens = tokens;
  std::vector<std::int32_t> terms;
  for (int h = first; h < first + count; ++h) {
    const Selection& selection = step.selections[h];
    row.widest_head = std::max(row.widest_head, static_cast<double>(selection.tokens.size()));
    std::vector<std::int32_t> mine;
    for (const ClusterTerm& term : selection.terms) mine.push_back(term.cluster);
    unite(terms, mine);
    for (int s = 0; s < kNumStages; ++s) {
      row.bytes[s] += step.cost[h].stages[s].bytes;
      row.flops[s] += step.cost[h].stages[s].flops;
    }
  }
  row.terms = static_cast<double>(terms.size());
  // Building is an expense of its own, spread over the tokens it serves.
  row.bytes[static_cast<int>(Stage::kIndex)] = row.flops[static_cast<int>(Stage::kIndex)] = 0;
  return row;
}

struct Quality {
  double error = 0, covered = 0, count = 0;
  void add(const KvHead& cache, const QueryGroup& group, const StepResult& step, int first) {
    const GroundTruth truth = GroundTruth::of(cache, group);
    for (int g = 0; g < group.size; ++g) {
      const int h = first + g;
      const StepMetrics m =
          measure(truth, g, step.selections[h],
                  step.output.data() + std::size_t(h) * cache.value_dim, step.log_sum_exp[h]);
      error += m.output_error, covered += m.covered_mass, ++count;
    }
  }
};

}  // namespace

void describe(Profile& profile, const PolicyInfo& policy, const Parameters& parameters) {
  profile.search = search_of(policy, parameters);
  profile.single_keys = keeps_single_keys(parameters);
  profile.zone = 0;
  for (const char* key : {"sink", "window"})
    if (parameters.has(key)) profile.zone += static_cast<double>(parameters.integer(key));
}

Profile measure_profile(const Trace& trace, const PolicyInfo& policy, const Parameters& parameters,
                        const MeasureOptions& options,
                        const std::function<bool(double done)>& progress) {
  const TraceInfo& info = trace.info();
  const std::int64_t steps =
      options.max_steps > 0 ? std::min(options.max_steps, info.num_steps()) : info.num_steps();
  Profile profile;
  profile.policy = policy.name, profile.parameters = parameters.to_json();
  profile.trace = info.name, profile.trace_hash = trace.content_hash();
  profile.group_size = info.group_size(), profile.head_dim = info.head_dim;
  profile.kv_heads = info.num_kv_heads, profile.context = info.positions[0] + 1;
  if (parameters.has("recluster_every"))
    profile.recluster_every = static_cast<double>(parameters.integer("recluster_every"));
  describe(profile, policy, parameters);
  if (policy.traits.grows && parameters.has("segment"))
    profile.grown_segment =
        static_cast<double>(segment_length(profile.context, parameters.integer("segment")));
  std::vector<HitCount> counts(std::size(kCacheShares));
  Quality quality;
  for (std::size_t l = 0; l < info.layers.size(); ++l) {
    const TraceLayer data = trace.read_layer(info.layers[l]);
    const KvCacheView cache = trace.cache(data);
    ReferenceDecoder decoder(policy, parameters, {info.layers[l], 0, options.seed, KvDtype::kBf16});
    decoder.prefill(cache.first(info.positions[0] + 1));
    const IndexCost built = decoder.index_cost();
    const double heads = info.num_kv_heads * static_cast<double>(info.layers.size());
    profile.index.memory_bytes += built.memory_bytes / heads;
    profile.index.build += Work{built.build.bytes / heads, built.build.flops / heads};
    std::vector<std::vector<std::vector<std::int32_t>>> read(info.num_kv_heads);
    for (std::int64_t t = 0; t < steps; ++t) {
      if (t > 0) decoder.append(cache.first(info.positions[t] + 1));
      const QueryBlock queries = trace.queries(data, t);
      const StepResult step = decoder.step(queries, Detail::kSelections);
      const bool noted = t % options.every_step == 0;
      for (int kv = 0; kv < info.num_kv_heads; ++kv) {
        const int first = kv * info.group_size();
        read[kv].push_back(union_of_tokens(step, first, info.group_size()));
        if (!noted) continue;
        ProfileRow row =
            row_of(step, first, info.group_size(), static_cast<double>(read[kv].back().size()));
        row.layer = info.layers[l], row.kv_head = kv, row.step = static_cast<std::int32_t>(t);
        row.visible_tokens = info.positions[t] + 1;
        profile.rows.push_back(row);
        quality.add(cache.first(info.positions[t] + 1).head(kv),
                    queries.group(kv, info.num_kv_heads), step, first);
      }
    }
    std::vector<double> capacities;
    for (double share : kCacheShares)
      capacities.push_back(share * static_cast<double>(profile.context));
    for (const auto& head : read) {
      const auto found = count_hits(head, info.num_tokens, capacities);
      for (std::size_t c = 0; c < found.size(); ++c)
        counts[c].hits += found[c].hits, counts[c].reads += found[c].reads;
    }
    if (progress && !progress(static_cast<double>(l + 1) / info.layers.size()))
      fail_input("measuring ", policy.name, " on ", info.name, ": interrupted");
  }
  for (std::size_t c = 0; c < counts.size(); ++c)
    profile.hits.push_back(
        {kCacheShares[c], counts[c].reads > 0 ? counts[c].hits / counts[c].reads : 0});
  profile.output_error = quality.error / quality.count;
  profile.covered_mass = quality.covered / quality.count;
  return profile;
}

}  // namespace doublep::sim
