#include "core/base/parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/base/memory.h"

namespace doublep {
namespace {

thread_local bool inside_loop = false;

// What a stack and the work need beside each other, under a limit: threads that took all would
// leave libraries without memory, which not all of them survive.
constexpr std::size_t kRoomToWork = 96ull << 20;

class Pool {
 public:
  explicit Pool(int threads) : asked_(threads) {
    workers_.reserve(static_cast<std::size_t>(threads));
    try {
      for (int i = 1; i < threads; ++i) {
        if (!may_grow_by(kRoomToWork)) throw std::runtime_error("the limit on address space");
        workers_.emplace_back([this] { serve(); });
      }
    } catch (
        const std::exception& error) {  // no process or no memory: those that were made work on
      static bool said = false;
      if (!said)
        std::fprintf(stderr, "warning: only %d of %d threads could be created (%s); going on\n",
                     size(), threads, error.what());
      said = true;
    }
    // A thread on its way into the loop may hold locks of libraries, which a process that is forked
    // off now would inherit without anybody to open them (seen: a sanitizer's allocator).
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return started_ == workers_.size(); });
  }
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }
  int asked() const { return asked_; }
  int size() const { return static_cast<int>(workers_.size()) + 1; }

  void run(std::int64_t n, const std::function<void(std::int64_t)>& body) {
    std::lock_guard one_loop_at_a_time(loop_mutex_);
    {
      std::lock_guard lock(mutex_);
      body_ = &body, n_ = n, error_ = nullptr;
      next_ = 0;
      busy_ = static_cast<int>(workers_.size());
      ++generation_;
    }
    wake_.notify_all();
    work();
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void work() {
    inside_loop = true;
    try {
      for (std::int64_t i; (i = next_.fetch_add(1)) < n_;) (*body_)(i);
    } catch (...) {
      next_ = n_;
      std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
    inside_loop = false;
  }
  void serve() {
    std::uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    ++started_;
    done_.notify_one();
    while (true) {
      wake_.wait(lock, [&] { return stop_ || generation_ != seen; });
      if (stop_) return;
      seen = generation_;
      lock.unlock();
      work();
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  int asked_;
  std::vector<std::thread> workers_;
  std::mutex mutex_, loop_mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(std::int64_t)>* body_ = nullptr;
  std::int64_t n_ = 0;
  std::atomic<std::int64_t> next_ = 0;
  std::exception_ptr error_;
  std::uint64_t generation_ = 0;
  std::size_t started_ = 0;
  int busy_ = 0;
  bool stop_ = false;
};

int all_cores() { return std::max(1u, std::thread::hardware_concurrency()); }

std::atomic<bool> pool_is_there = false;

std::unique_ptr<Pool>& pool() {
  static auto instance = [] {
    pool_is_there = true;
    return std::make_unique<Pool>(all_cores());
  }();
  return instance;
}

}  // namespace

void set_num_threads(int threads) {
  threads = threads > 0 ? threads : all_cores();
  if (pool()->asked() != threads) pool() = std::make_unique<Pool>(threads);
}

void stay_serial() { inside_loop = true; }

void renew_threads() {
  if (!pool_is_there) return;
  const int threads = pool()->asked();
  (void)pool().release();  // its threads cannot be joined here, nor its locks be trusted
  pool() = std::make_unique<Pool>(threads);
}

int num_threads() { return pool()->size(); }

void parallel_for(std::int64_t n, const std::function<void(std::int64_t)>& body) {
  if (n == 1 || inside_loop || pool()->size() == 1) {
    for (std::int64_t i = 0; i < n; ++i) body(i);
    return;
  }
  if (n > 0) pool()->run(n, body);
}

}  // namespace doublep
