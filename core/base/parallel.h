// One pool of threads for the whole program, and a loop over it.
#pragma once

#include <cstdint>
#include <functional>

namespace doublep {

constexpr int kMaxThreads = 4096;  ///< that a user may ask for

/// Sets the number of threads that parallel_for uses (>= 1; 0 = all cores). Not thread-safe: call
/// it before work starts. Where the system gives fewer (a limit on processes or memory), those are
/// used, which changes no result; said once on stderr.
void set_num_threads(int threads);
int num_threads();  ///< that there are

/// From now on parallel_for does everything in this thread: in a forked child, which has no other.
void stay_serial();

/// In a forked child that goes on to work: the pool's threads stayed with the parent, so that a
/// loop would wait for them for ever. Makes new ones.
void renew_threads();

/// Calls body(i) for i in [0, n), spread over the pool, and returns when all are done. The first
/// exception is rethrown here. Nested calls run in the calling thread. Bodies must write to places
/// of their own, so that results do not depend on the number of threads.
void parallel_for(std::int64_t n, const std::function<void(std::int64_t)>& body);

}  // namespace doublep
