// What a policy does at a context length that no trace has: measured rows, scaled by a stated law.
//
// Rows are taken as they were measured at the nearest length (in log), so that the spread over
// heads and steps is the real one, and every quantity is multiplied by law(N) / law(N measured):
// between two measured lengths law is the straight line through their means in log-log; beyond them
// it goes on as N^b with b the least-squares slope over all measured means, kept within [0, 1]
// (nothing a policy reads grows faster than the cache). One measured length alone gives b = 1, the
// upper bound. Whatever lies outside of the measured lengths is marked as extrapolated.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "sim/cost/roofline.h"
#include "sim/model/model.h"
#include "sim/profile/profile.h"

namespace doublep::sim {

/// Work of one KV head of one sequence in one step.
struct HeadWork {
  std::array<double, kNumStages> bytes{}, flops{};
  double tokens = 0, terms = 0;
};

class Workload {
 public:
  /// Profiles of one policy with one set of parameters, on traces that the user holds to be of one
  /// kind. Throws InputError where there is none or they do not fit together.
  Workload(std::string name, std::vector<Profile> profiles);

  const std::string& name() const { return name_; }
  const std::string& policy() const { return groups_.front().profiles.front().policy; }
  const std::string& parameters() const { return groups_.front().profiles.front().parameters; }
  std::int64_t shortest() const { return groups_.front().context; }
  std::int64_t longest() const { return groups_.back().context; }
  bool extrapolates(std::int64_t context) const;

  /// What there is at one context length; keep it for many heads. Valid as long as the workload.
  class View {
   public:
    /// Work of (layer, KV head) of one sequence. Every measured (layer, KV head) of the trace
    /// stands for equally many of the model's; sequences take different steps.
    HeadWork at(int layer, int kv_head, int kv_heads, int sequence) const;

   private:
    friend class Workload;
    const std::vector<std::vector<std::array<double, 2 * kNumStages + 4>>>* rows_ = nullptr;
    std::array<double, 2 * kNumStages + 4> factors_{};
  };
  View view(std::int64_t context) const;
  /// Means over all rows at a context.
  HeadWork mean(std::int64_t context) const;

  double hit_rate(double cache_share) const;
  /// Of one KV head of one layer, scaled by context: memory in proportion, the build as its law.
  IndexCost index(std::int64_t context) const;
  /// How the policy turns masses into a selection.
  Search search() const { return groups_.front().profiles.front().search; }
  /// Whether it weighs single tokens too, and the tokens of its sink and window (describe()).
  bool single_keys() const { return groups_.front().profiles.front().single_keys; }
  double zone() const { return groups_.front().profiles.front().zone; }
  double recluster_every() const;
  /// Share of the whole build that one re-clustering after `every` new tokens takes. A segment of
  /// new tokens costs its part of the tokens, against fewer centroids where it is a short one.
  double recluster_share(std::int64_t context, double every) const;
  double output_error() const;
  double covered_mass() const;
  int group_size() const { return groups_.front().profiles.front().group_size; }
  int head_dim() const { return groups_.front().profiles.front().head_dim; }

 private:
  // bytes and flops per stage, tokens, terms, build flops, build bytes
  static constexpr int kQuantities = 2 * kNumStages + 4;
  using Quantities = std::array<double, kQuantities>;
  struct Group {  // profiles of one length
    std::int64_t context = 0;
    std::vector<Profile> profiles;
    // rows[head][step]: one head is a (profile, layer, KV head)
    std::vector<std::vector<Quantities>> rows;
    Quantities mean{};
  };
  const Group& nearest(std::int64_t context) const;
  Quantities law(double context) const;
  Quantities factors(const Group& from, std::int64_t context) const;
  static HeadWork work_of(const Quantities& q);

  std::string name_;
  std::vector<Group> groups_;  // by rising length
  Quantities slope_{};
};

}  // namespace doublep::sim
