// A limit on this process's address space, for as long as it lives; none under a sanitizer, which
// takes all of it.
#pragma once

#include <sys/resource.h>

#include <cstddef>
#include <stdexcept>

#include "core/base/memory.h"

namespace doublep::test {

class AddressLimit {
 public:
  /// `more`: bytes beside those that are taken now.
  explicit AddressLimit(std::size_t more) {
    if (::getrlimit(RLIMIT_AS, &before_) != 0) throw std::runtime_error("no limits here");
    rlimit tight = before_;
    tight.rlim_cur = address_space() + more;
    if (::setrlimit(RLIMIT_AS, &tight) != 0) throw std::runtime_error("no limit can be set");
  }
  AddressLimit(const AddressLimit&) = delete;
  ~AddressLimit() { ::setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_ = {};
};

}  // namespace doublep::test
