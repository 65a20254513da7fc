// Does the fence around libhdf5 hold: crashes, endless loops and greed stay in the child?
#include "core/trace/hdf5/probe.h"

#include <sys/mman.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <new>

#include "core/base/parallel.h"
#include "core/base/random.h"
#include "tests/support/address_limit.h"
#include "tests/support/program.h"
#include "tests/support/refusal.h"
#include "tests/support/run_policy.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::test;

TEST_CASE("what a probed reading does to its process is told as damage") {
  const auto probed = [](const std::function<void()>& read, h5::ProbeLimits limits = {}) {
    return message_of([&] { h5::probe("t.h5", read, limits); });
  };
  CHECK(contains(probed([] { std::raise(SIGSEGV); }), "t.h5: HDF5 crashes"));
  CHECK(contains(probed([] { std::abort(); }), "crashes"));
  CHECK(contains(probed([] { std::_Exit(86); }), "crashes"));
  volatile bool forever = true;
  CHECK(contains(probed(
                     [&] {
                       while (forever) {
                       }
                     },
                     {1, 1 << 26}),
                 "no end"));
  const auto greedy = [] {
    void* much =
        ::mmap(nullptr, 1 << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (much == MAP_FAILED) throw std::bad_alloc();
  };
  CHECK(contains(probed(greedy), "more than 96 MiB"));
  CHECK(probed([] { fail_input("t.h5: is odd; mend it"); }) == "t.h5: is odd; mend it");
}

TEST_CASE("stopped for computing long, when it has not, is no damage: it is tried again") {
  // A child's memory is its own: what it leaves for the next try is a file.
  const TempDir folder;
  const auto stopped_until = [&](int tries) {
    h5::probe("t.h5", [&] {
      int before = 0;
      while (std::ifstream(folder.file(std::to_string(before)))) ++before;
      std::ofstream(folder.file(std::to_string(before))) << "tried";
      if (before + 1 < tries) std::raise(SIGXCPU);
    });
  };
  CHECK_NOTHROW(stopped_until(3));
  CHECK(std::ifstream(folder.file("2")));
  CHECK(!std::ifstream(folder.file("3")));
  const std::string message = message_of([&] { stopped_until(100); });
  CHECK(contains(message, "t.h5: reading its structure is stopped"));
  CHECK(contains(message, "ulimit -t"));
  CHECK(!contains(message, "damaged"));
  CHECK(
      contains(message_of([] { h5::probe("t.h5", [] { std::raise(SIGALRM); }); }), "file system"));
}

TEST_CASE("a probe that is killed from outside says nothing of the file") {
  // A hard limit on processor time, or a system out of memory.
  const std::string killed = message_of([] { h5::probe("t.h5", [] { std::raise(SIGKILL); }); });
  CHECK(contains(killed, "killed from outside"));
  CHECK(!contains(killed, "damaged"));
}

TEST_CASE("a crash where memory is short says nothing of the file") {
  if (kSanitized) return;  // a sanitizer takes the whole address space
  const auto probed = [&](const std::function<void()>& read) -> std::string {
    const AddressLimit limit(std::size_t{32} << 20);
    try {
      h5::probe("t.h5", read);
    } catch (const std::bad_alloc&) {
      return "no memory";
    } catch (const InputError& error) {
      return error.what();
    }
    return "read";
  };
  CHECK(probed([] { std::raise(SIGSEGV); }) == "no memory");
  CHECK(probed([] { std::_Exit(86); }) == "no memory");
  CHECK(probed([] { throw std::bad_alloc(); }) == "no memory");
  CHECK(probed([] { fail_input("t.h5: is odd; mend it"); }) == "t.h5: is odd; mend it");
  CHECK(probed([] {}) == "read");
}

TEST_CASE("a probe leaves nothing behind, and may loop in parallel") {
  const ThreadGuard guard;
  set_num_threads(3);
  int here = 0;
  h5::probe("t.h5", [&] {
    std::vector<int> all(100);
    parallel_for(100, [&](std::int64_t i) { all[i] = 1; });
    for (int one : all) here += one;
    if (here != 100) fail_input("lost");
  });
  CHECK(here == 0);
  parallel_for(8, [&](std::int64_t i) {  // the pool is still there
    if (i == 0) here = 1;
  });
  CHECK(here == 1);
}

TEST_CASE("flipped bytes in the metadata of a trace are survived") {
  // Strings of variable length, as h5py writes them, and chunk indexes: where libhdf5 crashes.
  const TraceFile file;
  {
    const h5::Handle f(H5Fopen(file.path().c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    const h5::Handle type(H5Tcopy(H5T_C_S1), H5Tclose), space(H5Screate(H5S_SCALAR), H5Sclose);
    H5Tset_size(type.get(), H5T_VARIABLE);
    for (const auto& [name, text] : {std::pair{"format", "kv-trace"}, {"model", "m"}}) {
      H5Adelete(f.get(), name);
      const h5::Handle attribute(
          H5Acreate2(f.get(), name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
      H5Awrite(attribute.get(), type.get(), &text);
    }
  }
  std::ifstream in(file.path(), std::ios::binary);
  const std::string sound{std::istreambuf_iterator<char>(in), {}};
  const CounterRng rng(11);
  int refused = 0, opened = 0;
  for (std::uint64_t i = 0; i < 250; ++i) {
    std::string bytes = sound;
    for (std::uint64_t k = 0; k < 4; ++k)
      bytes[rng.below(8 * i + 2 * k, bytes.size())] =
          static_cast<char>(rng.bits(8 * i + 2 * k + 1));
    const std::string path = file.path() + ".damaged";
    std::ofstream(path, std::ios::binary) << bytes;
    try {
      const Trace trace = Trace::open(path);
      for (int layer : trace.info().layers) trace.read_layer(layer);
      ++opened;
    } catch (const InputError& error) {
      ++refused;
      CHECK(contains(error.what(), path));
    }
  }
  CHECK(refused > 50);  // the others hit values, or gaps
  CHECK(opened > 0);
}
