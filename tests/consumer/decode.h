// One decode step of Double-P over a cache of the consumer's own.
#pragma once

#include <string>
#include <vector>

/// Output of 4 query heads over 2 KV heads of 16 dimensions: [4 * 16].
std::vector<float> decode(const std::string& policy, int tokens);
