// The fields of a row stand in one list: what is made of it, and that nobody tells them again.
#include <cctype>
#include <filesystem>
#include <map>
#include <set>

#include "experiments/gate/gate.h"
#include "experiments/results/stored_run.h"
#include "tests/catch.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"

using namespace doublep;
using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

// The C++ sources below core, experiments, sim and cuda, by path.
const std::map<std::string, std::string>& cpp_sources() {
  static const auto all = [] {
    std::map<std::string, std::string> texts;
    for (const char* room : {"core", "experiments", "sim", "cuda"})
      for (const auto& entry : fs::recursive_directory_iterator(kRoot + "/" + room)) {
        const std::string suffix = entry.path().extension().string();
        if (suffix == ".cpp" || suffix == ".h" || suffix == ".def" || suffix == ".cu")
          texts[fs::relative(entry.path(), kRoot).string()] = slurp(entry.path());
      }
    return texts;
  }();
  return all;
}

bool holds_word(const std::string& text, const std::string& word) {
  const auto part = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + 1))
    if ((at == 0 || !part(text[at - 1])) && !part(text[at + word.size()])) return true;
  return false;
}

std::set<std::string> sources_with(const std::string& word) {
  std::set<std::string> found;
  for (const auto& [path, text] : cpp_sources())
    if (holds_word(text, word)) found.insert(path);
  return found;
}

std::string page_line(const RowField& field) {
  const char* types[] = {"i32", "u32", "i64", "f64", "text"};
  return "| `" + field.column.name + "` | " + types[static_cast<int>(field.column.type)] + " | " +
         field.unit + " | " + field.meaning + " |";
}

}  // namespace

TEST_CASE("RESULT_FORMAT.md's table of rows is the list of fields, line by line") {
  const std::string page = slurp(kRoot + "/experiments/RESULT_FORMAT.md");
  std::string expected = "| field | type | unit | meaning |\n| --- | --- | --- | --- |\n";
  for (const RowField& field : row_fields()) expected += page_line(field) + "\n";
  INFO("expected:\n" << expected);
  CHECK(page.find("\n" + expected + "\n") != std::string::npos);
}

TEST_CASE("a metric touches four files: the list, its page, and where it is computed") {
  // Three sources and RESULT_FORMAT.md.
  for (const char* metric : {"lse_error", "oracle_tokens"}) {
    const std::set<std::string> expected = {"core/metrics/step_metrics.cpp",
                                            "core/metrics/step_metrics.h",
                                            "experiments/replay/row_fields.def"};
    CHECK(sources_with(metric) == expected);
  }
  // What the replay itself sets: the list and the replay.
  const std::set<std::string> expected = {"experiments/replay/replay.cpp",
                                          "experiments/replay/row_fields.def"};
  CHECK(sources_with("audited_mass") == expected);
  CHECK(sources_with("audited_low") == expected);
  CHECK(sources_with("error_violation") == expected);
}

TEST_CASE("nothing that stores, exports or compares rows knows a metric by name") {
  for (const RowField& field : row_fields()) {
    if (field.gate == Gate::kNone) continue;
    for (const std::string& source : sources_with(field.column.name)) {
      INFO(field.column.name << " in " << source);
      // The one check of what is read: a row that sees no token is none.
      const bool checks = source == "experiments/results/stored_run.cpp";
      CHECK((source.rfind("experiments/results/", 0) != 0 ||
             (checks && field.column.name == "visible_tokens")));
      CHECK(source.rfind("experiments/gate/", 0) != 0);
      CHECK(source != "experiments/commands/export.cpp");
      CHECK(source != "experiments/commands/check.cpp");
    }
  }
}

TEST_CASE("the gate holds every field that is measured, with a tolerance of its kind") {
  std::set<std::string> held;
  for (const auto& [name, tolerance] : gate_metrics()) held.insert(name);
  for (const RowField& field : row_fields())
    CHECK(held.count(field.column.name) == (field.gate == Gate::kNone ? 0 : 1));
  CHECK(held.count("exact_tokens_by_step") == 1);
}

TEST_CASE("fields give their values and texts") {
  Row row;
  row.head = 3, row.exact_tokens = std::int64_t{1} << 53, row.lse_error = 0.1, row.bytes[3] = 7;
  for (const RowField& field : row_fields()) {
    if (field.column.name == "head") CHECK(field.text(row) == "3");
    if (field.column.name == "exact_tokens") CHECK(field.text(row) == "9007199254740992");
    if (field.column.name == "lse_error") CHECK(field.text(row) == "0.1");
    if (field.column.name == "bytes_attend") CHECK(field.value(row) == 7);
  }
}
