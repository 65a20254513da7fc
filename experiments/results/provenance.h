// Where a result came from: attributes that every result carries, and no gate compares.
#pragma once

#include <map>
#include <string>

namespace doublep {

/// commit, compiler, flags, cpu, libraries, program_hash, created (ISO 8601, UTC).
std::map<std::string, std::string> provenance();

/// Hash of this executable's own file: results of another build are not taken for this one's.
const std::string& program_hash();
std::string utc_now();

}  // namespace doublep
