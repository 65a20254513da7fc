// Sink, window, and every n-th token between them.
#include <limits>

#include "core/policy/exact_zone.h"
#include "core/policy/registry.h"

namespace doublep {
namespace {

class Strided final : public Policy {
 public:
  Strided(const Parameters& p, const PolicyContext&)
      : sink_(p.integer("sink")), window_(p.integer("window")), stride_(p.integer("stride")) {}

  void select(const KvHead& cache, const QueryGroup&, GroupSelection& out) override {
    const ExactZone zone = ExactZone::of(sink_, window_, cache.length);
    for (Selection& head : out.heads) {
      for (std::int64_t j = 0; j < cache.length; ++j)
        if (zone.contains(j) || j % stride_ == 0)
          head.tokens.push_back(static_cast<std::int32_t>(j));  // sorted and unique
      head.target_p = std::numeric_limits<double>::quiet_NaN();  // promises no mass
    }
    out.charge(Stage::kSelect, 0, 1);  // bytes the group read, FLOPs per head; attend is charged for
  }                                    // you, by what was selected

 private:
  std::int64_t sink_, window_, stride_;
};

}  // namespace

PolicyInfo strided_policy() {
  return describe<Strided>(
      "strided", "attends sink, window and every n-th token between them", "an example",
      join({{integer("stride", 16, "distance of the tokens between", 1)}, exact_zone_params()}));
}

}  // namespace doublep
