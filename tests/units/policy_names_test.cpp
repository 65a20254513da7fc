// Does anybody ask a policy's name? What others need to know stands with the policy, as traits.
#include <filesystem>
#include <regex>

#include "core/policy/registry.h"
#include "tests/support/message.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"

using namespace doublep;
using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

bool is_source(const fs::path& path) {
  const std::string kind = path.extension().string();
  return kind == ".cpp" || kind == ".h" || kind == ".cu" || kind == ".cuh";
}

// Of anything with a policy's name, as text: == "quest", "quest:..." !=, compare("quest").
std::regex comparison() {
  std::string names;
  for (const PolicyInfo& policy : PolicyRegistry::instance().all())
    names += (names.empty() ? "" : "|") + policy.name;
  const std::string text = "\"(" + names + ")[\":]";
  return std::regex("([!=]=\\s*(std::string(_view)?[({])?|(compare|starts_with|rfind)\\()" + text +
                    "|" + text + "[)}s]*\\s*[!=]=");
}

/// The first such comparison, or "".
std::string asked(const std::string& source) {
  static const std::regex pattern = comparison();
  std::smatch found;
  return std::regex_search(source, found, pattern) ? found.str() : "";
}

}  // namespace

TEST_CASE("a comparison with a policy's name is found, a mention is not") {
  for (const char* text : {"if (p.policy == \"quest\")", "\"quest\" != name",
                           "name ==std::string(\"quest\")", "name.compare(\"quest\")",
                           "label.rfind(\"quest:\", 0)", "std::string_view{\"quest\"} == name"})
    CHECK(contains(asked(text), "quest"));
  for (const char* text : {"{\"quest\", true}", "registry.find(\"quest\")", "// == quest",
                           "name == \"questions\"", "describe(\"quest\", x == y)"})
    CHECK(asked(text).empty());
}

TEST_CASE("nobody but policies compares a policy's name") {
  int read = 0;
  for (const char* room : {"core", "cuda", "sim", "experiments"})
    for (const auto& entry : fs::recursive_directory_iterator(kRoot + "/" + room)) {
      const std::string path = entry.path().string();
      if (!is_source(entry.path()) || contains(path, "/core/policy/") ||
          contains(path, "/cuda/policies/"))
        continue;
      INFO(path);
      CHECK(asked(slurp(path)) == "");
      ++read;
    }
  CHECK(read > 100);  // it looked somewhere
}
