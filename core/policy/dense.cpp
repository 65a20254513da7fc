// Every visible token: the yardstick.
#include <numeric>

#include "core/policy/registry.h"

namespace doublep {
namespace {

class Dense final : public Policy {
 public:
  Dense(const Parameters&, const PolicyContext&) {}
  void select(const KvHead& cache, const QueryGroup&, GroupSelection& out) override {
    for (Selection& head : out.heads) {
      head.tokens.resize(cache.length);
      std::iota(head.tokens.begin(), head.tokens.end(), 0);
      head.target_p = 1;
    }
  }
};

}  // namespace

PolicyInfo dense_policy() {
  return describe<Dense>("dense", "attends every visible token", "Vaswani et al., arXiv 1706.03762",
                         {}, {.dense = true});
}

}  // namespace doublep
