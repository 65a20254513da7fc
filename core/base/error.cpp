#include "core/base/error.h"

#include <cstdio>
#include <cstdlib>

namespace doublep {

void assertion_failed(const char* file, int line, const char* condition,
                      const std::string& message) {
  std::fprintf(stderr, "%s:%d: invariant broken: %s%s%s\n", file, line, condition,
               message.empty() ? "" : ": ", message.c_str());
  std::abort();
}

}  // namespace doublep
