// What the project promises of its sources and its build as a whole: where warnings are errors,
// what CI compiles, and that text becomes a number in one place.
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>

#include "core/yaml/yaml.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/paths.h"

using namespace doublep;
using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

std::string read(const fs::path& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// JSON is YAML.
Yaml presets() { return Yaml::load(kRoot + "/CMakePresets.json"); }

// A preset's variable, its own or inherited; "" where it has none.
std::string variable(const std::map<std::string, Yaml>& all, const std::string& preset,
                     const std::string& name) {
  const Yaml& own = all.at(preset);
  if (own.has("cacheVariables") && own.at("cacheVariables").has(name))
    return own.at("cacheVariables").at(name).text();
  return own.has("inherits") ? variable(all, own.at("inherits").text(), name) : "";
}

std::map<std::string, Yaml> configure_presets() {
  std::map<std::string, Yaml> all;
  const Yaml file = presets();
  for (const Yaml& preset : file.at("configurePresets").items())
    all.emplace(preset.at("name").text(), preset);
  return all;
}

// All commands of a job of the workflow, one after the other.
std::string commands(const Yaml& job) {
  std::string text;
  for (const Yaml& step : job.at("steps").items())
    if (step.has("run")) text += step.at("run").text() + "\n";
  return text;
}

}  // namespace

TEST_CASE("warnings are errors in CI's presets and in none that a user names") {
  const auto all = configure_presets();
  int strict = 0;
  for (const auto& [name, preset] : all) {
    CAPTURE(name);
    const bool of_ci = name == "ci" || name.rfind("ci-", 0) == 0;
    CHECK((variable(all, name, "DOUBLEP_WERROR") == "ON") == of_ci);
    strict += of_ci;
  }
  CHECK(strict >= 4);
  CHECK(std::regex_search(read(kRoot + "/CMakeLists.txt"),
                          std::regex("option\\(DOUBLEP_WERROR .* OFF\\)")));
  // The command that the README gives builds with one of the others.
  CHECK(std::regex_search(read(kRoot + "/tests/run.sh"), std::regex("\"\"\\) optimised=release")));
}

TEST_CASE("CI compiles all by g++ 12 to 14 and by clang, CUDA too, and looks with three tools") {
  const auto all = configure_presets();
  const Yaml jobs = Yaml::load(kRoot + "/.github/workflows/ci.yml").at("jobs");
  std::string containers;
  const Yaml matrix = jobs.at("tests").at("strategy").at("matrix");
  for (const Yaml& container : matrix.at("container").items()) containers += container.text() + " ";
  CHECK(containers == "debian:12 debian:13 ubuntu:24.04 ");  // g++ 12, 14 and 13
  CHECK(matrix.at("suite").items().at(0).text() == "ci-gcc");
  CHECK(matrix.at("include").items().at(0).at("suite").text() == "ci-full");
  CHECK(std::regex_search(read(kRoot + "/tests/run.sh"),
                          std::regex("ci-full\\) optimised=ci sanitized=ci-clang")));
  CHECK(variable(all, "ci-clang", "CMAKE_CXX_COMPILER") == "clang++");
  CHECK(variable(all, "ci", "CMAKE_CXX_COMPILER") == "g++");
  // A container that has nvcc, a preset that fails without it.
  CHECK(contains(jobs.at("cuda").at("container").text(), "nvidia/cuda:"));
  CHECK(contains(commands(jobs.at("cuda")), "cmake --build --preset ci-cuda"));
  CHECK(variable(all, "ci-cuda", "DOUBLEP_CUDA") == "ON");
  CHECK(variable(all, "ci-cuda", "DOUBLEP_WERROR") == "ON");
  CHECK(contains(commands(jobs.at("clang-tidy")), "bash tests/tidy.sh"));
  CHECK(fs::exists(kRoot + "/.clang-tidy"));
  for (const char* room : {"core", "sim", "experiments"})
    CHECK(std::regex_search(read(kRoot + "/tests/tidy.sh"), std::regex("\\b" + std::string(room))));
  CHECK(variable(all, "tsan", "DOUBLEP_SANITIZE") == "thread");
  CHECK(contains(commands(jobs.at("threads")), "ctest --preset tsan"));
  CHECK(contains(commands(jobs.at("fuzz")), "tests/fuzz/run.sh"));
  std::string tested;
  for (const Yaml& preset : presets().at("testPresets").items())
    tested += " " + preset.at("name").text() + " ";
  for (const char* name : {" release ", " debug ", " tsan ", " ci ", " ci-clang "})
    CHECK(contains(tested, name));
}

TEST_CASE("text becomes a number in core/base/text.h and nowhere else") {
  const std::regex parsers("\\b(ato[ifl]l?|strto[a-z]+|sto[ifdlu][a-z]*|sscanf|from_chars)\\s*\\(");
  int files = 0, found = 0;
  for (const char* room : {"core", "sim", "experiments", "cuda"})
    for (const auto& entry : fs::recursive_directory_iterator(kRoot + "/" + room)) {
      const std::string suffix = entry.path().extension().string();
      if (suffix != ".cpp" && suffix != ".h" && suffix != ".cu") continue;
      ++files;
      if (!std::regex_search(read(entry.path()), parsers)) continue;
      CAPTURE(entry.path().string());
      CHECK(entry.path().parent_path().filename() == "base");
      CHECK(entry.path().stem() == "text");
      ++found;
    }
  CHECK(files > 300);
  CHECK(found == 1);
}
