// doublep_fuzz_seeds FOLDER: writes the seeds of every fuzzer to FOLDER/<reader>/.
#include <filesystem>
#include <iostream>

#include "tests/fuzz/readers.h"
#include "tests/support/program.h"

int main(int argc, char** argv) {
  using namespace doublep::test;
  if (argc != 2) {
    std::cerr << "usage: doublep_fuzz_seeds FOLDER\n";
    return 2;
  }
  for (const Reader& reader : readers()) {
    const std::filesystem::path folder = std::filesystem::path(argv[1]) / reader.name;
    std::filesystem::create_directories(folder);
    for (const Seed& seed : sound_seeds(reader.name)) spill(folder / seed.name, seed.bytes);
    if (reader.suffix == ".h5")  // a program of edits, so that libFuzzer mutates such, too
      spill(folder / "edits", std::string("\x01\x00\x00\x09\x05\x03\x02\x02\x04", 9));
  }
  return 0;
}
