#include "core/base/memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <new>

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

namespace {

constexpr std::size_t kStack = 1 << 20;  // Eigen alone takes 128 KiB for a product

[[gnu::noinline]] void touch_stack() {
  [[maybe_unused]] volatile char bytes[kStack];
  for (std::size_t i = kStack; i > 0; i -= std::min<std::size_t>(i, 4096)) bytes[i - 1] = 0;
}

}  // namespace

void reserve_stack() {
  if (!may_grow_by(2 * kStack)) throw std::bad_alloc();
  touch_stack();
}

}  // namespace doublep
