// One header for Catch2 2 (Debian 12) and 3 (Ubuntu 24.04).
#pragma once

#include <iostream>
#include <string>

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif

namespace doublep::test {

/// Says on a line of its own that a case was not run, and why; tests/run.sh counts these lines.
/// Both Catch2 versions understand it, unlike SKIP(). Use: `if (...) return skip("no CUDA
/// device");`
inline void skip(const std::string& reason) {
  std::cout << "SKIPPED: " << reason << std::endl;
  SUCCEED("skipped: " << reason);
}

}  // namespace doublep::test
