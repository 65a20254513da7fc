// Which measured points are kept from the fit.
#pragma once

#include <cstdint>
#include <string_view>

namespace doublep::sim {

/// A share of 1 / `every` of the points is kept from the fit; 1 or less: none.
struct HoldOut {
  int every = 3;
};

/// By a fixed hash of what was measured. A place in some order would not do: on a regular grid
/// every n-th point falls on the same batch again and again (with three batches every third on
/// one), and the ends of the grid are never predicted. The hash knows no order, no other point and
/// no machine.
bool is_held_out(std::string_view label, std::int64_t context, int batch, const HoldOut& rule);

}  // namespace doublep::sim
