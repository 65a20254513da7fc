// The doors of the house: how many files somebody touches who adds to it, counted by who names
// what is there. A metric's door is counted in row_fields_test.cpp.
#include <algorithm>
#include <filesystem>
#include <map>
#include <regex>
#include <set>

#include "core/policy/registry.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"

using namespace doublep;
using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

using Sources = std::map<std::string, std::string>;

// Files below some folders that are compiled, run or tell what is built, by path.
Sources sources(const std::vector<std::string>& folders) {
  static const std::set<std::string> kinds = {".cpp", ".h",  ".def", ".cu",
                                              ".cuh", ".in", ".py",  ".txt"};
  Sources texts;
  for (const std::string& folder : folders)
    for (const auto& entry : fs::recursive_directory_iterator(kRoot + "/" + folder))
      if (kinds.count(entry.path().extension().string()))
        texts[fs::relative(entry.path(), kRoot).string()] = slurp(entry.path());
  REQUIRE(!texts.empty());
  return texts;
}

std::set<std::string> those_with(const Sources& texts, const std::string& pattern) {
  const std::regex regex(pattern);
  std::set<std::string> found;
  for (const auto& [path, text] : texts)
    if (std::regex_search(text, regex)) found.insert(path);
  return found;
}

// The words that a pattern's first group stands for in a text.
std::set<std::string> words(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it)
    found.insert((*it)[1]);
  return found;
}

}  // namespace

TEST_CASE("a policy on the GPU is its file, a line of the list and a word of the page") {
  const std::string list = "cuda/policies/builtin.def", page = slurp(kRoot + "/cuda/README.md");
  const auto names = words(slurp(kRoot + "/" + list), "DOUBLEP_CUDA_POLICY\\((\\w+)\\)");
  REQUIRE(names.size() > 5);
  const Sources all = sources({"cuda"});
  for (const std::string& name : names) {
    INFO(name);
    const std::string file = "cuda/policies/" + name + ".cpp";
    auto found =
        those_with(all, "\"" + name + "\"|\\b" + name + "_on_device|POLICY\\(" + name + "\\)");
    for (const std::string& other : names)  // one policy may build on another, as Twilight on Quest
      if (other != name) found.erase("cuda/policies/" + other + ".cpp");
    CHECK(found == std::set<std::string>{file, list});
    CHECK(contains(page, name));
    CHECK(std::count(all.at(file).begin(), all.at(file).end(), '\n') < 118);
  }
}

TEST_CASE("a policy on the CPU is its file, a line of the list and a row of the README") {
  const Sources all = sources({"core", "sim"});
  const std::string page = slurp(kRoot + "/README.md");
  for (const PolicyInfo& policy : PolicyRegistry::instance().all()) {
    INFO(policy.name);
    CHECK(those_with(all, "\\b" + policy.name + "_policy\\(|POLICY\\(" + policy.name + "\\)") ==
          std::set<std::string>{"core/policy/" + policy.name + ".cpp", "core/policy/builtin.def"});
    CHECK(contains(page, "`" + policy.name + "`"));
  }
}

TEST_CASE("a subcommand is its file, a declaration and a call") {
  const Sources all = sources({"experiments"});
  const std::string list = "experiments/commands/commands.h";
  const auto names = words(all.at(list), "void (add_\\w+)\\(CLI::App&");
  REQUIRE(names.size() > 8);
  for (const std::string& name : names) {
    INFO(name);
    auto found = those_with(all, "\\b" + name + "\\b");
    found.erase("experiments/bench/main.cpp");  // bench alone, as a program of its own
    CHECK(found.size() == 3);
    CHECK(found.count(list) + found.count("experiments/main.cpp") == 2);
  }
}

TEST_CASE("a machine or a model is a file") {
  // Every word of a source in quotes, or what a configuration lists: none of them is looked for.
  const Sources all = sources({"core", "cuda", "sim", "experiments"});
  int read = 0;
  for (const char* folder : {"configs/hardware", "configs/models"})
    for (const auto& entry : fs::directory_iterator(kRoot + "/" + folder)) {
      const std::string name = entry.path().stem().string();
      INFO(name);
      CHECK(those_with(all, "\"" + name + "(\\.yaml)?\"") == std::set<std::string>{});
      ++read;
    }
  CHECK(read > 10);
}
