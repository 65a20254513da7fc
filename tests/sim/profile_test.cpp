// Profiles: hit rates by hand, the scaling law, and the file.
#include "sim/profile/profile.h"

#include <cmath>
#include <fstream>

#include "core/policy/registry.h"
#include "tests/catch.h"
#include "tests/sim/machine.h"
#include "tests/support/message.h"
#include "tests/support/paths.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::sim;
using namespace doublep::sim::test;
using doublep::test::contains;
using doublep::test::message_of;
using doublep::test::needle_4k;
using doublep::test::TempDir;

TEST_CASE("Hits of a least-recently-used cache, by hand", "[sim]") {
  // The second half of the steps counts: 2 and 3.
  const std::vector<std::vector<std::int32_t>> steps = {{0, 1}, {1, 2}, {1, 3}, {0, 1, 3}};
  const double capacities[] = {100, 3, 2, 1, 0};
  const auto counts = count_hits(steps, 4, capacities);
  REQUIRE(counts.size() == 5);
  for (const HitCount& c : counts) CHECK(c.reads == 5);
  // All kept: step 2 finds 1; step 3 finds 0, 1, 3.
  CHECK(counts[0].hits == 4);
  // Three kept: before step 3 these are {1, 3}, {2}: 0 is gone.
  CHECK(counts[1].hits == 3);
  CHECK(counts[2].hits == 3);
  // One kept: half of {1, 2} holds 1 at step 2; half of {1, 3} is there for both at step 3.
  CHECK(counts[3].hits == Approx(0.5 + 1));
  CHECK(counts[4].hits == 0);
}

TEST_CASE("Between the points of a hit curve", "[sim]") {
  const HitPoint curve[] = {{0.1, 0.4}, {0.3, 0.8}};
  CHECK(hit_rate(curve, 0.05) == Approx(0.2));
  CHECK(hit_rate(curve, 0.2) == Approx(0.6));
  CHECK(hit_rate(curve, 0.9) == Approx(0.8));
  CHECK(hit_rate({}, 0.5) == 0);
}

TEST_CASE("The scaling law: exact at measured lengths, a power beyond, a line in log-log between",
          "[sim]") {
  const Workload w = simple_workload();  // 400 tokens at 4096, 800 at 16384: a square root
  CHECK(w.mean(4096).tokens == Approx(400));
  CHECK(w.mean(16384).tokens == Approx(800));
  CHECK(w.mean(8192).tokens == Approx(400 * std::sqrt(2.0)));
  CHECK(w.mean(65536).tokens == Approx(1600));
  CHECK(w.mean(65536).bytes[1] == Approx(4 * 262144));  // summaries grow with the context
  CHECK(w.mean(1024).tokens == Approx(200));
  CHECK(w.extrapolates(65536));
  CHECK_FALSE(w.extrapolates(8192));
  // Nothing that a policy reads grows faster than the cache, nor shrinks with it.
  const Workload steep("made", {simple_profile(4096, 100, 1), simple_profile(8192, 1000, 1)});
  CHECK(steep.mean(16384).tokens == Approx(2000));
  const Workload falling("made", {simple_profile(4096, 1000, 1), simple_profile(8192, 500, 1)});
  CHECK(falling.mean(16384).tokens == Approx(500));
  const Workload alone("made", {simple_profile(4096, 100, 1)});
  CHECK(alone.mean(8192).tokens == Approx(200));  // one length: the upper bound
}

TEST_CASE("The spread over heads and steps is the measured one, not the mean", "[sim]") {
  const Workload w = simple_workload(0.5);
  const auto view = w.view(16384);
  double low = 1e9, high = 0, sum = 0;
  const int sequences = 200;
  for (int s = 0; s < sequences; ++s)
    for (int h = 0; h < 2; ++h) {
      const double tokens = view.at(0, h, 2, s).tokens;
      low = std::min(low, tokens), high = std::max(high, tokens), sum += tokens;
    }
  CHECK(low == Approx(400));
  CHECK(high == Approx(1200));
  CHECK(sum / (2 * sequences) == Approx(800).epsilon(0.1));
  CHECK(view.at(1, 0, 2, 7).tokens == w.view(16384).at(1, 0, 2, 7).tokens);
}

TEST_CASE("Profiles that do not belong together are refused", "[sim]") {
  Profile other = simple_profile(8192, 1, 1);
  other.policy = "another";
  CHECK_THROWS_AS(Workload("w", {simple_profile(4096, 1, 1), other}), InputError);
  other = simple_profile(8192, 1, 1);
  other.head_dim = 64;
  CHECK_THROWS_AS(Workload("w", {simple_profile(4096, 1, 1), other}), InputError);
  CHECK_THROWS_AS(Workload("w", {}), InputError);
}

TEST_CASE("A profile file reads back what was written, and says where it is broken", "[sim]") {
  const TempDir folder;
  const std::string path = folder.file("p.tsv");
  write_profiles(path, {simple_profile(4096, 400, 65536, 0.25), simple_profile(8192, 500, 1)});
  const auto back = read_profiles(path);
  REQUIRE(back.size() == 2);
  CHECK(back[0].rows.size() == 16);
  CHECK(back[0].rows[3].tokens == simple_profile(4096, 400, 65536, 0.25).rows[3].tokens);
  CHECK(back[1].hits.size() == 3);
  CHECK(back[0].index.build.flops == 1e9);
  const auto broken = [&](const std::string& text) {
    std::ofstream(path) << text;
    return message_of([&] { read_profiles(path); });
  };
  CHECK(contains(broken("something\n"), path + ":1:"));
  CHECK(contains(broken("doublep-profile\t1\nrow\t1\n"), ":2: expected a 'trace' line"));
  CHECK(contains(broken("doublep-profile\t1\ntrace\tt\th\t4\t128\ttwo\t9\n"),
                 ":2: expected a number"));
  CHECK(contains(broken("doublep-profile\t1\ntrace\tt\th\t4\t128\t2\t9\n"), "incomplete"));
  CHECK(contains(broken(""), "holds none"));
  CHECK(contains(message_of([&] { read_profiles(folder.file("none")); }), "no such file"));
  CHECK(contains(message_of([&] { write_profiles(path + "/p", back); }), path + "/p"));
}

TEST_CASE("Measured on needle-4k: dense reads everything, Double-P what its rows say", "[sim]") {
  const Trace trace = Trace::open(needle_4k());
  const auto& registry = PolicyRegistry::instance();
  MeasureOptions options;
  options.max_steps = 2;
  const PolicyInfo& dense = registry.find("dense");
  const Profile all = measure_profile(trace, dense, resolve(dense, {}), options);
  REQUIRE(all.rows.size() == 2 * 2 * 2);  // layers, KV heads, steps
  for (const ProfileRow& row : all.rows) {
    CHECK(row.tokens == static_cast<double>(row.visible_tokens));
    CHECK(row.bytes[static_cast<int>(Stage::kAttend)] == 512.0 * row.tokens);
  }
  CHECK(all.output_error < 1e-5);
  const PolicyInfo& info = registry.find("streaming");
  const Profile zone = measure_profile(trace, info, resolve(info, {}), options);
  for (const ProfileRow& row : zone.rows) CHECK(row.tokens == 68);
  // 68 of the zone's tokens, of which the sink and 63 of the window were read the step before.
  CHECK(zone.hits.back().rate == Approx(67.0 / 68));
  const Profile again = measure_profile(trace, info, resolve(info, {}), options);
  CHECK(again.rows[3].bytes == zone.rows[3].bytes);
}
