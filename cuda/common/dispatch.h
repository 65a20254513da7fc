// From a run-time head dimension to the template that was built for it.
#pragma once

#include <stdexcept>
#include <string>
#include <type_traits>

namespace doublep::cuda {

template <class Visit>
auto for_head_dim(int head_dim, Visit visit) {
  switch (head_dim) {
    case 64:
      return visit(std::integral_constant<int, 64>{});
    case 80:
      return visit(std::integral_constant<int, 80>{});
    case 128:
      return visit(std::integral_constant<int, 128>{});
    case 256:
      return visit(std::integral_constant<int, 256>{});
    default:
      throw std::invalid_argument("no kernel for head_dim " + std::to_string(head_dim) +
                                  "; there are 64, 80, 128, 256");
  }
}

}  // namespace doublep::cuda
