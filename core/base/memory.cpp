#include "core/base/memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

namespace doublep {

std::size_t address_space() {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

bool may_grow_by(std::size_t bytes) {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return true;
  return address_space() + bytes <= limit.rlim_cur;
}

}  // namespace doublep
