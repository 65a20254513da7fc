// Does the pool run every index once, pass exceptions on, and leave results independent of threads?
#include "core/base/parallel.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <vector>

#include "tests/catch.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

TEST_CASE("every index runs once, whatever the number of threads") {
  const ThreadGuard guard;
  for (int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    REQUIRE(num_threads() == threads);
    for (std::int64_t n : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> calls(n);
      parallel_for(n, [&](std::int64_t i) { ++calls[i]; });
      int wrong = 0;
      for (auto& c : calls) wrong += c != 1;
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("an exception reaches the caller, and the pool works on") {
  const ThreadGuard guard;
  for (int threads : {1, 4}) {
    set_num_threads(threads);
    for (int round = 0; round < 20; ++round) {
      try {
        parallel_for(100, [&](std::int64_t i) {
          if (i == 37) throw std::runtime_error("thirty-seven");
        });
        FAIL("nothing was thrown");
      } catch (const std::runtime_error& error) {
        CHECK(std::string(error.what()) == "thirty-seven");
      }
      std::atomic<int> sum = 0;
      parallel_for(50, [&](std::int64_t) { ++sum; });
      CHECK(sum == 50);
    }
  }
}

TEST_CASE("an exception of the caller's own share leaves it free to loop again in parallel") {
  const ThreadGuard guard;
  set_num_threads(2);
  CHECK_THROWS_AS(parallel_for(4, [](std::int64_t) { throw 1; }), int);
  std::atomic<int> calls = 0;
  parallel_for(4, [&](std::int64_t) { parallel_for(4, [&](std::int64_t) { ++calls; }); });
  CHECK(calls == 16);
}

TEST_CASE("nested loops finish, also with exceptions inside") {
  const ThreadGuard guard;
  set_num_threads(4);
  std::vector<std::vector<int>> cells(9, std::vector<int>(11, 0));
  parallel_for(9, [&](std::int64_t i) {
    parallel_for(11, [&](std::int64_t j) { cells[i][j] += static_cast<int>(i * 11 + j); });
  });
  for (int i = 0; i < 9; ++i)
    for (int j = 0; j < 11; ++j) CHECK(cells[i][j] == i * 11 + j);
  CHECK_THROWS_AS(parallel_for(3,
                               [](std::int64_t) {
                                 parallel_for(3,
                                              [](std::int64_t) { throw std::domain_error("in"); });
                               }),
                  std::domain_error);
}

TEST_CASE("a sum over places of their own has the same bits for 1, 2, 3 and 7 threads") {
  const ThreadGuard guard;
  std::vector<double> sums;
  for (int threads : {1, 2, 3, 7}) {
    set_num_threads(threads);
    std::vector<double> parts(1000);
    parallel_for(1000, [&](std::int64_t i) {
      for (int j = 1; j < 50; ++j) parts[i] += 1.0 / static_cast<double>(i * 50 + j);
    });
    double sum = 0;
    for (double p : parts) sum += p;
    sums.push_back(sum);
  }
  for (double s : sums) CHECK(s == sums[0]);
}

TEST_CASE("a forked child loops with threads of its own") {
  const ThreadGuard guard;
  set_num_threads(3);
  parallel_for(3, [](std::int64_t) {});  // the pool is there
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);  // instead of waiting for ever for threads that are not there
    renew_threads();
    std::vector<int> calls(100, 0);
    parallel_for(100, [&](std::int64_t i) { ++calls[i]; });
    _exit(num_threads() == 3 && calls == std::vector<int>(100, 1) ? 0 : 1);
  }
  REQUIRE(child > 0);
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
