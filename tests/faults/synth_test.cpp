// synth under stress: a signal, a disk without room, threads that cannot be had.
#include <filesystem>

#include "core/base/hash.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::test;
namespace fs = std::filesystem;

TEST_CASE("an interrupted synth leaves nothing behind, and the earlier file as it was") {
  const TempDir dir;
  const std::string path = dir.file("t.h5");
  spill(path, "earlier");
  ProgramOptions options;
  options.interrupt_when = [&] {
    std::error_code none;
    return fs::file_size(path + ".partial", none) > 100000 && !none;
  };
  const auto result = run_program({"synth", "-o", path, "--tokens", "2000000", "--head-dim", "64"},
                                  dir.path(), options);
  CAPTURE(result.err);
  CHECK(result.code == 130);
  CHECK(contains(result.err, "interrupted"));
  CHECK_FALSE(fs::exists(path + ".partial"));
  CHECK(slurp(path) == "earlier");
}

TEST_CASE("more than the disk holds is refused before it is begun, unless told") {
  const TempDir dir;
  const std::string path = dir.file("t.h5");
  const auto result = run_program({"synth", "-o", path, "--tokens", "2000000000", "--layers", "64",
                                   "--kv-heads", "8", "--query-heads", "8"},
                                  dir.path());
  CHECK(result.code == 2);
  CHECK(is_one_clear_line(result.err, {path, "MiB free", "--yes"}));
  CHECK_FALSE(fs::exists(path + ".partial"));
}

TEST_CASE("threads that cannot be created are done without, and the same bytes come out") {
  if (kSanitized) return skip("a sanitizer takes the whole address space");
  const TempDir dir;
  const std::vector<std::string> common = {"--tokens", "3000", "--layers", "1", "--head-dim", "32"};
  const auto synth = [&](const char* name, const char* threads, std::size_t address_limit) {
    std::vector<std::string> arguments = {"synth", "-o", dir.file(name), "--threads", threads};
    arguments.insert(arguments.end(), common.begin(), common.end());
    ProgramOptions options;
    options.address_limit = address_limit;
    return run_program(arguments, dir.path(), options);
  };
  REQUIRE(synth("all.h5", "2", 0).code == 0);
  const auto few = synth("few.h5", "400", 1ull << 30);  // stacks of 8 MiB: 128 at the most
  CAPTURE(few.err);
  CHECK(few.code == 0);
  CHECK(contains(few.err, "of 400 threads could be created"));
  CHECK(few.err.find("could be created") == few.err.rfind("could be created"));
  CHECK(hash_file(dir.file("all.h5")) == hash_file(dir.file("few.h5")));
}
