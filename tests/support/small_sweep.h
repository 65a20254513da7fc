// A sweep of two policies on a small trace, that the program runs in a moment, and its result.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/config/emit.h"
#include "tests/support/program.h"
#include "tests/support/trace_file.h"

namespace doublep::test {

class SmallSweep {
 public:
  /// `trace`: the file's name, without folder.
  explicit SmallSweep(const std::string& trace = "toy.h5", const std::string& more = "") {
    std::filesystem::copy_file(made_.path(), dir_.file(trace));
    YamlWriter yaml;
    yaml.map().key("traces").list().value(trace).end().key("policies").list();
    for (const char* policy : {"dense", "streaming"})
      yaml.map(YamlWriter::kFlow).entry("policy", policy).end();
    spill(config(), yaml.end().end().text() + more);
  }
  std::string config() const { return dir_.file("s.yaml"); }
  std::string result() const { return dir_.file("r.h5"); }
  std::string file(const std::string& name) const { return dir_.file(name); }

  ProgramResult program(const std::vector<std::string>& arguments) const {
    return run_program(arguments, dir_.path());
  }
  ProgramResult run() const { return program({"run", config(), "-o", result()}); }
  ProgramResult export_csv() const { return program({"export", result()}); }

 private:
  TraceFile made_;
  TempDir dir_;
};

}  // namespace doublep::test
