// What the parts of the module doublep._core share: each adds its classes and functions, and gives
// the interpreter's lock up while it computes, so that other threads of Python go on.
#pragma once

#include <hdf5.h>
#include <nanobind/nanobind.h>

#include <atomic>

namespace doublep::python {

void bind_registry(nanobind::module_& m);
void bind_decoder(nanobind::module_& m);
void bind_trace(nanobind::module_& m);
void bind_replay(nanobind::module_& m);

/// While one lives this thread holds no lock of Python's, and counts as working. Make and destroy
/// it with the lock held.
class WithoutLock {
 public:
  enum class Reads { kMemory, kHdf5 };
  /// h5py may share our libhdf5: where that was built without thread safety, it is Python's lock
  /// that keeps the two apart.
  explicit WithoutLock(Reads reads = Reads::kMemory) {
    hbool_t safe = true;
    if (reads == Reads::kHdf5) H5is_library_threadsafe(&safe);
    ++working();
    if (safe) state_ = PyEval_SaveThread();
  }
  ~WithoutLock() {
    if (state_) PyEval_RestoreThread(state_);
    --working();
  }
  WithoutLock(const WithoutLock&) = delete;
  WithoutLock& operator=(const WithoutLock&) = delete;

  /// How many do.
  static std::atomic<int>& working() {
    static std::atomic<int> count = 0;
    return count;
  }

 private:
  PyThreadState* state_ = nullptr;
};

}  // namespace doublep::python
