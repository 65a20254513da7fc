// Opens a trace in HDF5, and sees that what is no folder of tensors is said to be none.
#include <cstdio>

#include "core/base/error.h"
#include "core/trace/trace.h"

int main(int, char** argv) {
  const doublep::Trace trace = doublep::Trace::open(argv[1]);
  try {
    doublep::Trace::open_folder(argv[1]);
    return 1;
  } catch (const doublep::InputError&) {
  }
  std::printf("traces: %d layers\n", static_cast<int>(trace.info().layers.size()));
}
