// Profiles as text, so that what a policy did on a trace too large to ship can be committed.
#pragma once

#include <string>
#include <vector>

#include "sim/profile/profile.h"

namespace doublep::sim {

/// Tab-separated lines, each tagged by its first field: `doublep-profile 1`, then per profile
/// `trace`, `policy`, `index`, `quality`, `hit`..., `row`.... Throws InputError (unwritable).
void write_profiles(const std::string& path, const std::vector<Profile>& profiles);
/// Throws InputError "file:line: ..." for anything that is not of the form above. Numbers are
/// finite and not negative, counts whole.
std::vector<Profile> read_profiles(const std::string& path);

}  // namespace doublep::sim
