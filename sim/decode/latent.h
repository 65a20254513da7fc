// Which policies a latent cache (Model::latent) can be decoded with, as far as a profile says.
#pragma once

#include <string>

#include "core/policy/registry.h"
#include "sim/model/model.h"

namespace doublep::sim {

/// Why a model does not take a policy, one sentence; "": it does. A model without a latent cache
/// takes every one. With it all query heads share one KV head:
/// - dense, and what follows from positions, read the latents as they read keys and values;
/// - pages and clusters with one selection per KV head read bounds or centroids as wide as a
///   latent, mean values of its value part, and the latents of their tokens;
/// - a selection per query head is refused: what all heads of the model read together is in no
///   profile, which has the union over the few heads of a trace's group;
/// - what ranks single tokens (by keys, channels, components, bits or codes) is refused: its form
/// of
///   the keys is that of every head's own keys, which a latent cache does not hold.
std::string latent_refusal(const Model& model, const PolicyInfo& policy,
                           const Parameters& parameters);

}  // namespace doublep::sim
