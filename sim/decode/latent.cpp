#include "sim/decode/latent.h"

#include "core/base/error.h"
#include "sim/cost/roofline.h"

namespace doublep::sim {

std::string latent_refusal(const Model& model, const PolicyInfo& policy,
                           const Parameters& parameters) {
  if (!model.latent || policy.traits.dense || policy.traits.search == SearchKind::kNone) return "";
  const std::string start =
      concat("policy ", policy.name, " does not go with the latent cache of ", model.name, ": ");
  const SearchKind kind = policy.traits.search;
  if (kind == SearchKind::kTokens || kind == SearchKind::kCodes || keeps_single_keys(parameters))
    return start +
           "it ranks single tokens by each head's own keys, which such a cache does not hold";
  const bool one =
      policy.ranks_groups(parameters) || search_of(policy, parameters) == Search::kRanked;
  if (one) return "";
  return start +
         "it selects for every query head, and what all heads read together is in no profile; take "
         "one that selects once per KV head";
}

}  // namespace doublep::sim
