// Order by value and what is taken from its front: top-k, and the nucleus, the smallest set of
// items in descending order of mass that holds a given mass (used for tokens, clusters and both
// levels of Double-P alike). Ties go to the lower index, so that every backend can agree.
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

/// exp(x - max x) of every log mass; all zero where every entry is -infinity. A common factor does
/// not change a top-p, so masses relative to the largest are as good and never overflow.
/// `shift` receives the maximum (0 where there is none).
std::vector<double> relative_masses(std::span<const double> log_masses, double* shift = nullptr);

/// Length of the smallest prefix of `order` whose masses sum to at least `target`.
/// target <= 0: 0. Masses that never reach the target: the length up to the last non-zero mass.
std::size_t smallest_prefix(std::span<const double> masses, std::span<const std::int32_t> order,
                            double target);

/// smallest_prefix for a share p of `total` (which may hold mass beside these items: `held` of it
/// is already selected). p >= 1 takes every item of non-zero mass: rounding must not drop any.
std::size_t top_p_prefix(std::span<const double> masses, std::span<const std::int32_t> order,
                         double p, double total, double held = 0);

/// What top_p_prefix takes of descending_order(masses), as a set, sorted ascending: without sorting
/// more than a sixteenth of an octave of masses. Masses are non-negative. The sums are those of the
/// prefix but for their last bits, as they are added in another order.
std::vector<std::int32_t> top_p_set(std::span<const double> masses, double p, double total,
                                    double held = 0);

/// Size of the smallest set of values whose sum is at least `target`; all where they never reach
/// it. Values are non-negative.
std::size_t smallest_set_size(std::span<const double> values, double target);

}  // namespace doublep
