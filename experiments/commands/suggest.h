// What somebody may have meant.
#pragma once

#include <string>
#include <vector>

namespace doublep {

/// "; did you mean 'run'?" for the name nearest to `word`, by letters to insert, drop, change or
/// swap; empty where none is near.
std::string suggestion(const std::string& word, const std::vector<std::string>& names);

}  // namespace doublep
