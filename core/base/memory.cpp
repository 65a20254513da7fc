#include "core/base/memory.h"

#include <alloca.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <string_view>

#include "core/base/text.h"

namespace doublep {

std::size_t address_space() {
  char text[32] = {};  // no stream: this may be asked where nothing can be allocated
  const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const ssize_t read = ::read(file, text, sizeof(text) - 1);
  ::close(file);
  const std::string_view all(text, read > 0 ? static_cast<std::size_t>(read) : 0);
  const std::int64_t pages = parse_integer(all.substr(0, all.find(' '))).value_or(0);
  return static_cast<std::size_t>(pages * ::sysconf(_SC_PAGESIZE));
}

bool may_grow_by(std::size_t bytes) {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return true;
  return address_space() + bytes <= limit.rlim_cur;
}

namespace {

constexpr std::size_t kStack = 1 << 20;  // Eigen alone takes 128 KiB for a product

[[gnu::noinline]] void touch_stack(std::size_t size) {
  auto* bytes = static_cast<volatile char*>(alloca(size));
  for (std::size_t i = size; i > 0; i -= std::min<std::size_t>(i, 4096)) bytes[i - 1] = 0;
}

}  // namespace

void reserve_stack() {
  rlimit space = {}, stack = {};
  if (::getrlimit(RLIMIT_AS, &space) != 0 || space.rlim_cur == RLIM_INFINITY) return;
  if (::getrlimit(RLIMIT_STACK, &stack) != 0) return;
  if (!may_grow_by(2 * kStack)) throw std::bad_alloc();
  touch_stack(std::min<std::size_t>(kStack, stack.rlim_cur / 2));
}

}  // namespace doublep
