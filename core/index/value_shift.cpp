#include "core/index/value_shift.h"

#include "core/base/error.h"
#include "core/index/mass_estimate.h"

namespace doublep {

ParamSpec value_side_param() {
  return choice("value_side", "mean", {"mean", "shifted"},
                "value of a cluster's term: its mean, or the mean moved to where the query looks");
}

bool parse_value_shift(const Parameters& parameters) {
  return parameters.choice("value_side") == "shifted";
}

void shift_values(const QueryGroup& group, GroupSelection& out) {
  VectorD forms;
  for (int h = 0; h < group.size; ++h) {
    Selection& head = out.heads[h];
    if (head.terms.empty()) continue;
    if (forms.size() == 0) forms = unit_logit_variances(*head.index, group);
    const ClusterIndex& index = *head.index;
    DP_EXPECTS(index.value_map().cols() == group.head_dim, "the index was built with a value map");
    const Eigen::RowVectorXd query =
        ConstRowF(group.query(h), group.head_dim).cast<double>() * group.softmax_scale;
    const Eigen::RowVectorXf shift =
        (query * index.value_map().cast<double>().transpose()).cast<float>();
    head.shift.assign(shift.data(), shift.data() + shift.size());
    const double form = forms[h];
    for (ClusterTerm& term : head.terms) {
      const double u = index.variances()[term.cluster];
      term.value_shift = static_cast<float>(u / (1 + u * form / 4));
    }
  }
}

}  // namespace doublep
