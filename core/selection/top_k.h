// Order and top-k by value. Ties go to the lower index, so that every backend can agree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace doublep {

/// Indices of all values, descending by value, equal values ascending by index.
std::vector<std::int32_t> descending_order(std::span<const double> values);

/// The indices of the k largest values in that order's first k places, sorted ascending.
std::vector<std::int32_t> top_k(std::span<const double> values, std::int64_t k);

}  // namespace doublep
