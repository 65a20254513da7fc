// What the benchmarks refuse before they look for a device: an output that could not be written
// when all is measured.
#include <filesystem>

#include "tests/parity/support.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

namespace doublep::test {
namespace fs = std::filesystem;

TEST_CASE("an output that cannot be written is refused before anything is measured", "[plan]") {
  const std::string e2e = (fs::path(DOUBLEP_PROGRAM).parent_path() / "e2e/doublep_e2e").string();
  struct Program {
    std::string path, name;
    std::vector<std::string> arguments;
  };
  std::vector<Program> programs = {{DOUBLEP_PROGRAM, "doublep", {"bench"}}};
  if (fs::exists(e2e)) programs.push_back({e2e, "doublep_e2e", {}});  // where there is cuBLAS
  const TempDir folder;
  const std::string trace = folder.file("t.h5"), nowhere = folder.file("none/x.json");
  fs::copy_file(fs::path(DOUBLEP_SOURCE_DIR) / "tests/data/needle-4k.h5", trace);
  const std::string before = slurp(trace);
  for (const Program& program : programs)
    for (const auto& [json, says] :
         std::vector<std::pair<std::string, std::string>>{{nowhere, "its folder does not exist"},
                                                          {folder.path(), "is a folder"},
                                                          {trace, "would destroy"}})
      for (const bool dry : {true, false}) {
        ProgramOptions options;
        options.program = program.path;
        std::vector<std::string> arguments = program.arguments;
        arguments.insert(arguments.end(), {trace, "--json", json});
        if (dry) arguments.push_back("--dry-run");
        const ProgramResult result = run_program(arguments, folder.path(), options);
        INFO(program.name << ": " << result.err);
        CHECK(result.code == 2);
        CHECK(result.out.empty());
        CHECK(is_one_clear_line(result.err, {json, says}, program.name));
        CHECK(slurp(trace) == before);
      }
}

}  // namespace doublep::test
