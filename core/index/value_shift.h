// The value side of second-order centroids: inside a cluster the tokens that this query likes are
// not average ones, so the cluster's value is not the mean of its values.
#pragma once

#include "core/base/parameters.h"
#include "core/cache/kv_cache.h"
#include "core/index/cluster_index.h"
#include "core/selection/selection.h"

namespace doublep {

/// To second order, sum_j exp(x_j) v_j over a cluster is z (mean + Cov(v, k) q scale). Cov_i(v, k)
/// would be a matrix per cluster; here it is u_i M, with u_i the variance that the index holds
/// anyway and M one matrix per KV head (ClusterIndex::value_map). So the shift is u_i times a
/// direction M q scale that all clusters share: no vector per cluster, one product per query. Exact
/// to second order where values are linear in keys and clusters are spread alike but for size.
///
/// The second order runs away where logits spread widely (t = u_i |q|^2 scale^2, their variance),
/// so the coefficient is u_i / (1 + t/4): sqrt(t) / (1 + t/4) <= 1 keeps the tilted mean key within
/// one standard deviation of the centroid.
ParamSpec value_side_param();
bool parse_value_shift(const Parameters& parameters);

/// Sets the shift of every head's selection and the coefficients of its terms. The selections'
/// index must have been built with IndexMoments::value_map; attend's cost counts the reading.
void shift_values(const QueryGroup& group, GroupSelection& out);

}  // namespace doublep
