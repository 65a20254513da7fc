// The smallest set of clusters with estimated mass p, attended token by token.
#include "cuda/policies/policies.h"

namespace doublep::cuda {

DevicePolicy cluster_top_p_on_device() {
  return {"cluster_top_p", both(supported_nucleus(), {{"p"}}),
          [](const Parameters& p) { return nucleus_plan(p, p.real("p"), p.real("p")); }};
}

}  // namespace doublep::cuda
