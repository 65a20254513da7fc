// Second check for the rivals: quest's pages, twilight's tokens and retroinfer's zones are the
// reference's, near-ties aside.
#include <set>

#include "core/cache/logits.h"
#include "core/index/mass_estimate.h"
#include "core/index/page_index.h"
#include "core/index/quantiser.h"
#include "core/policy/exact_zone.h"
#include "core/selection/top_p.h"
#include "tests/parity/near_ties.h"

namespace doublep::test {
namespace {

struct Both {
  std::unique_ptr<Decoder> gpu, cpu;

  Both(const Case& c, const Setup& setup)
      : gpu(on_gpu(setup, c.dtype)), cpu(on_cpu(setup, c.dtype)) {
    gpu->prefill(c.cache()), cpu->prefill(c.cache());
  }
  void append(const Case& c) { gpu->append(c.cache()), cpu->append(c.cache()); }
};

Parameters parameters(const Setup& setup) {
  return resolve(PolicyRegistry::instance().find(setup.policy), setup.given);
}

/// Pages that tokens outside of the zone lie in.
Set pages_of(const Selection& s, const ExactZone& zone, std::int64_t page_size) {
  std::set<std::int32_t> pages;
  for (const std::int32_t j : s.tokens)
    if (!zone.contains(j)) pages.insert(static_cast<std::int32_t>(j / page_size));
  return {pages.begin(), pages.end()};
}

/// Every page that one side only took has a bound within kNearTie of the last place's, and what is
/// attended is the zone and whole pages.
void check_quest(const Case& c, const Parameters& p, Both& decoders) {
  const StepResult gpu = decoders.gpu->step(c.block(), Detail::kSelections);
  const StepResult cpu = decoders.cpu->step(c.block(), Detail::kSelections);
  const ExactZone zone = ExactZone::of(p.integer("sink"), p.integer("window"), c.length);
  const std::int64_t size = p.integer("page_size"), k = p.budget("budget").pages(c.length, size);
  for (int h = 0; h < c.kv_heads * c.group; ++h) {
    const KvHead head = c.cache().head(h / c.group);
    PageIndex pages(size, c.dtype);
    pages.extend(head);
    const MatrixD bounds = pages.upper_bounds(c.block().group(h / c.group, c.kv_heads));
    const auto row = bounds.row(h % c.group);
    std::vector<double> sorted(row.begin(), row.end());
    std::sort(sorted.rbegin(), sorted.rend());
    const double last = k > 0 ? sorted[k - 1] : INFINITY;

    INFO("head " << h << ", " << k << " of " << pages.num_pages() << " pages");
    const Set mine = pages_of(gpu.selections[h], zone, size),
              reference = pages_of(cpu.selections[h], zone, size);
    Set only;
    std::set_symmetric_difference(mine.begin(), mine.end(), reference.begin(), reference.end(),
                                  std::back_inserter(only));
    for (const std::int32_t page : only) CHECK(std::abs(row[page] - last) < kNearTie);
    Set expected;
    zone.for_each([&](std::int32_t j) { expected.push_back(j); });
    for (const std::int32_t page : mine)
      for (std::int64_t j = pages.begin(page); j < pages.end(page); ++j)
        if (!zone.contains(j)) expected.push_back(static_cast<std::int32_t>(j));
    std::sort(expected.begin(), expected.end());
    CHECK(gpu.selections[h].tokens == expected);
  }
}

/// Tokens that the base may propose more or fewer of where page bounds tie: a page of the zone,
/// which is proposed anyway, may take the place of another or leave it.
double traded_tokens(const Case& c, const Parameters& p, const QueryGroup& group, int kv, int g) {
  PageIndex pages(p.integer("page_size"), c.dtype);
  pages.extend(c.cache().head(kv));
  const MatrixD bounds = pages.upper_bounds(group);
  std::vector<double> sorted(bounds.row(g).begin(), bounds.row(g).end());
  std::sort(sorted.rbegin(), sorted.rend());
  const auto k = std::min<std::size_t>(
      sorted.size(), p.budget("base_budget").pages(c.length, p.integer("page_size")));
  const bool tied = k > 0 && k < sorted.size() && sorted[k - 1] - sorted[k] < kNearTie;
  return tied ? static_cast<double>(p.integer("sink") + p.integer("window") +
                                    2 * p.integer("page_size"))
              : 0;
}

/// Tokens of the zone, attended in any case, that tie with the last one taken for its mass: top-p
/// may count them towards p or others in their place.
double tied_in_zone(const ExactZone& zone, std::span<const double> logits, const Set& taken) {
  double last = INFINITY, tied = 0;
  for (const std::int32_t j : taken)
    if (!zone.contains(j)) last = std::min(last, logits[j]);
  zone.for_each([&](std::int32_t j) { tied += std::abs(logits[j] - last) < kNearTie; });
  return tied;
}

void check_twilight(const Case& c, const Parameters& p, Both& decoders) {
  const StepResult gpu = decoders.gpu->step(c.block(), Detail::kSelections);
  const StepResult cpu = decoders.cpu->step(c.block(), Detail::kSelections);
  const ExactZone zone = ExactZone::of(p.integer("sink"), p.integer("window"), c.length);
  for (int kv = 0; kv < c.kv_heads; ++kv) {
    QuantisedKeys keys(4, c.dtype);
    keys.extend(c.cache().head(kv));
    MatrixF decoded(c.length, c.head_dim);
    for (std::int64_t j = 0; j < c.length; ++j) keys.decode(j, decoded.row(j).data());
    const MatrixD logits = exact_logits(c.block().group(kv, c.kv_heads), decoded.data(), c.length);
    for (int g = 0; g < c.group; ++g) {
      INFO("head " << kv * c.group + g);
      const auto &mine = gpu.selections[kv * c.group + g],
                 &reference = cpu.selections[kv * c.group + g];
      CHECK(mine.target_p == reference.target_p);
      zone.for_each([&](std::int32_t j) {
        CHECK(std::binary_search(mine.tokens.begin(), mine.tokens.end(), j));
      });
      const std::span<const double> row(logits.row(g).data(), static_cast<std::size_t>(c.length));
      check_sets(mine.tokens, reference.tokens, row,
                 traded_tokens(c, p, c.block().group(kv, c.kv_heads), kv, g) +
                     tied_in_zone(zone, row, reference.tokens));
    }
  }
}

/// log of the sum over heads of softmax(q.C), sizes left out; -infinity without members.
std::vector<double> group_ranking(const ClusterIndex& index, const MatrixD& log_masses) {
  const auto k = static_cast<std::size_t>(index.num_clusters());
  std::vector<double> sums(k, 0.0), logits(k);
  for (Eigen::Index h = 0; h < log_masses.rows(); ++h) {
    for (std::size_t c = 0; c < k; ++c) {
      const double size = static_cast<double>(index.size(c));
      logits[c] = size > 0 ? log_masses(h, c) - std::log(size) : -INFINITY;
    }
    const auto masses = relative_masses(logits);
    double total = 0;
    for (const double m : masses) total += m;
    for (std::size_t c = 0; c < k; ++c) sums[c] += masses[c] / total;
  }
  for (double& s : sums) s = std::log(s);
  return sums;
}

void check_retroinfer(const Case& c, const Parameters& p, const StepResult& gpu) {
  for (int kv = 0; kv < c.kv_heads; ++kv) {
    const Selection* heads = gpu.selections.data() + kv * c.group;
    const ClusterIndex& index = *heads[0].index;
    const MatrixD log_masses =
        estimate_log_masses(index, c.block().group(kv, c.kv_heads), parse_estimator(p));
    const auto ranking = group_ranking(index, log_masses);
    std::size_t occupied = 0;
    for (std::int64_t i = 0; i < index.num_clusters(); ++i) occupied += index.size(i) > 0;
    const auto part = [&](double share) {
      return std::min(occupied, static_cast<std::size_t>(
                                    std::ceil(share * static_cast<double>(occupied) - 1e-9)));
    };
    const bool rest = p.choice("outside") == "estimate";
    const std::size_t exact = part(p.real("retrieval")),
                      kept = part(rest ? 1 : p.real("retrieval") + p.real("estimation"));
    const auto order = descending_order(ranking);
    Set best(order.begin(), order.begin() + exact), most(order.begin(), order.begin() + kept);
    std::sort(best.begin(), best.end()), std::sort(most.begin(), most.end());
    for (int g = 0; g < c.group; ++g) {
      INFO("head " << kv * c.group + g << ", " << exact << " and " << kept << " of " << occupied);
      const Set refined = refined_clusters(heads[g]);
      Set all = refined;
      for (const ClusterTerm& t : heads[g].terms) {
        all.push_back(t.cluster);
        CHECK(std::abs(t.log_mass - log_masses(g, t.cluster)) < kNearTie);
      }
      std::sort(all.begin(), all.end());
      CHECK(refined.size() == exact);
      CHECK(all.size() == kept);
      check_sets(refined, best, ranking);
      check_sets(all, most, ranking);
    }
  }
}

}  // namespace

TEST_CASE("quest takes the reference's pages", "[parity]") {
  if (without_device()) return;
  const std::vector<Setup> setups = {
      {"quest", {{"budget", std::int64_t{256}}}},
      {"quest", {{"budget", 0.4}, {"sink", std::int64_t{20}}, {"window", std::int64_t{41}}}},
      {"quest", {{"budget", std::int64_t{700}}}},
      {"quest", {{"budget", std::int64_t{1000000}}}},
      {"quest", {{"budget", std::int64_t{300}}, {"page_size", std::int64_t{32}}}},
      {"quest",
       {{"budget", std::int64_t{90}}, {"page_size", std::int64_t{9}}, {"sink", std::int64_t{0}}}},
  };
  for_each_case(setups, Case(), [](Case& c, const Setup& setup) {
    Both decoders(c, setup);
    INFO(parameters(setup).to_json() << ", " << c.text());
    check_quest(c, parameters(setup), decoders);
  });
}

TEST_CASE("quest's pages fill and begin as tokens join", "[parity][quick]") {
  if (without_device()) return;
  for (const std::int64_t page_size : {16, 40}) {
    const Setup setup{"quest",
                      {{"budget", 0.3}, {"page_size", page_size}, {"window", std::int64_t{10}}}};
    Case c;
    c.length = 250, c.capacity = 330, c.kv_heads = 1;
    c.fill();
    Both decoders(c, setup);
    const Parameters p = parameters(setup);
    for (const int joined : {0, 1, 5, 1, 16, 33, 0, 2}) {  // also none, and over several pages
      c.length += joined;
      decoders.append(c);
      INFO("page size " << page_size << ", " << c.length << " tokens");
      check_quest(c, p, decoders);
    }
  }
}

TEST_CASE("twilight prunes to the reference's tokens", "[parity]") {
  if (without_device()) return;
  const std::vector<Setup> setups = {
      {"twilight", {}},
      {"twilight", {{"p", 0.5}, {"base_budget", std::int64_t{1000000}}}},
      {"twilight",
       {{"p", 0.95}, {"base_budget", std::int64_t{300}}, {"page_size", std::int64_t{20}}}},
      {"twilight", {{"p", 1.0}, {"sink", std::int64_t{0}}, {"window", std::int64_t{17}}}},
  };
  for_each_case(setups, Case(), [](Case& c, const Setup& setup) {
    Both decoders(c, setup);
    INFO(parameters(setup).to_json() << ", " << c.text());
    check_twilight(c, parameters(setup), decoders);
    c.length += 21;
    decoders.append(c);
    check_twilight(c, parameters(setup), decoders);
  });
}

TEST_CASE("retroinfer ranks the reference's clusters for a group", "[parity]") {
  if (without_device()) return;
  const std::vector<Setup> setups = {
      {"retroinfer", {}},
      {"retroinfer", {{"retrieval", 0.2}, {"estimation", 0.5}}},
      {"retroinfer", {{"retrieval", 0.1}, {"estimation", 0.0}, {"segment", std::int64_t{200}}}},
      {"retroinfer", {{"retrieval", 0.0}, {"estimation", 1.0}}},
      {"retroinfer", {{"retrieval", 0.1}, {"outside", std::string("estimate")}}},
      {"retroinfer", {{"retrieval", 0.1}, {"estimator", std::string("second_order")}}},
  };
  Case like;
  like.length = like.capacity = 900;
  for_each_case(setups, like, [](Case& c, const Setup& setup) {
    const auto decoder = on_gpu(setup, c.dtype);
    decoder->prefill(c.cache());
    INFO(parameters(setup).to_json() << ", " << c.text());
    check_retroinfer(c, parameters(setup), decoder->step(c.block(), Detail::kSelections));
  });
}

TEST_CASE("retroinfer's generated tokens are clustered by themselves", "[parity][quick]") {
  if (without_device()) return;
  for (const std::int64_t clusters : {0, 12})
    for (const std::int64_t late : {0, 1}) {  // steps from the start on, or only after some growth
      const Setup setup{"retroinfer",
                        {{"retrieval", 0.2},
                         {"clusters", clusters},
                         {"segment", std::int64_t{24}},
                         {"recluster_every", std::int64_t{40}}}};
      Case c;
      c.length = 200, c.capacity = 420, c.kv_heads = 1, c.head_dim = 64;
      c.fill();
      Both decoders(c, setup);
      std::shared_ptr<const ClusterIndex> before;
      for (int t = 0; t < 20; ++t) {
        c.length += 10;
        decoders.append(c);
        if (late && t < 10) continue;
        const StepResult gpu = decoders.gpu->step(c.block(), Detail::kSelections);
        const StepResult cpu = decoders.cpu->step(c.block(), Detail::kSelections);
        const auto index = gpu.selections[0].index, reference = cpu.selections[0].index;
        INFO(c.length << " tokens, " << clusters << " clusters, late " << late);
        REQUIRE(index->begin() == reference->begin());
        REQUIRE(index->end() == reference->end());
        REQUIRE(index->num_clusters() == reference->num_clusters());
        std::vector<int> seen(c.length, 0);
        for (std::int64_t i = 0; i < index->num_clusters(); ++i)
          for (const std::int32_t token : index->members(i)) ++seen[token];
        for (std::int64_t j = 0; j < c.length; ++j)
          CHECK(seen[j] == (j >= index->begin() && j < index->end() ? 1 : 0));
        for (std::int64_t i = 0; before && i < before->num_clusters(); ++i)  // these stay
          CHECK(std::equal(before->members(i).begin(), before->members(i).end(),
                           index->members(i).begin(), index->members(i).end()));
        before = index;
        check_retroinfer(c, parameters(setup), gpu);
      }
      CHECK(before->end() == 400 - 64);  // it grew at every 40 tokens, last at 400
    }
}

}  // namespace doublep::test
