// Attention sinks and a window of the latest tokens.
#include <limits>

#include "core/policy/exact_zone.h"
#include "core/policy/registry.h"

namespace doublep {
namespace {

class Streaming final : public Policy {
 public:
  Streaming(const Parameters& p, const PolicyContext&)
      : sink_(p.integer("sink")), window_(p.integer("window")) {}
  void select(const KvHead& cache, const QueryGroup&, GroupSelection& out) override {
    for (Selection& head : out.heads) {
      ExactZone::of(sink_, window_, cache.length).for_each([&](auto j) {
        head.tokens.push_back(j);
      });
      head.target_p = std::numeric_limits<double>::quiet_NaN();
    }
  }

 private:
  std::int64_t sink_, window_;
};

}  // namespace

PolicyInfo streaming_policy() {
  return describe<Streaming>("streaming", "attends the sink tokens and the window",
                             "StreamingLLM, arXiv 2309.17453", exact_zone_params());
}

}  // namespace doublep
