// The folders of core form layers: who includes whom is a graph without cycles, and nobody in core
// includes another room.
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/catch.h"
#include "tests/support/paths.h"

namespace {

using Graph = std::map<std::string, std::set<std::string>>;
namespace fs = std::filesystem;

// The folder that a path written from the project's root lies in: "core/index" of
// "core/index/kmeans.h".
std::string folder_of(const std::string& path) { return fs::path(path).parent_path().string(); }

// Folder -> folders that its files include. An include that names no file of the project is not
// the project's.
Graph include_graph(const fs::path& root, const std::string& room) {
  Graph graph;
  for (const auto& entry : fs::recursive_directory_iterator(root / room)) {
    const std::string extension = entry.path().extension().string();
    if (extension != ".h" && extension != ".cpp") continue;
    const std::string from = folder_of(fs::relative(entry.path(), root).string());
    graph[from];
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);) {
      if (line.rfind("#include \"", 0) != 0) continue;
      const std::string included = line.substr(10, line.find('"', 10) - 10);
      if (fs::exists(root / included) && folder_of(included) != from)
        graph[from].insert(folder_of(included));
    }
  }
  return graph;
}

// Folders from the first that is met twice to itself; empty without a cycle below `at`.
std::vector<std::string> cycle_from(const Graph& graph, const std::string& at,
                                    std::vector<std::string> path, std::set<std::string>& clear) {
  for (std::size_t i = 0; i < path.size(); ++i)
    if (path[i] == at) {
      path.push_back(at);
      return {path.begin() + static_cast<std::ptrdiff_t>(i), path.end()};
    }
  if (clear.count(at)) return {};
  path.push_back(at);
  if (const auto node = graph.find(at); node != graph.end())
    for (const std::string& next : node->second)
      if (auto cycle = cycle_from(graph, next, path, clear); !cycle.empty()) return cycle;
  clear.insert(at);
  return {};
}

std::string drawn(const Graph& graph) {
  std::string text;
  for (const auto& [from, targets] : graph) {
    text += from + " ->";
    for (const std::string& to : targets) text += " " + to;
    text += "\n";
  }
  return text;
}

std::string cycle_of(const Graph& graph) {
  std::set<std::string> clear;
  for (const auto& [folder, targets] : graph) {
    std::string text;
    for (const std::string& step : cycle_from(graph, folder, {}, clear)) text += " > " + step;
    if (!text.empty()) return text;
  }
  return "";
}

}  // namespace

TEST_CASE("Folders of core include each other without a cycle") {
  const Graph graph = include_graph(doublep::test::kRoot, "core");
  INFO(drawn(graph));
  REQUIRE(graph.at("core/policy").count("core/index") == 1);  // the drawing sees includes at all
  CHECK(cycle_of(graph) == "");
}

TEST_CASE("core includes no other room") {
  const Graph graph = include_graph(doublep::test::kRoot, "core");
  INFO(drawn(graph));
  for (const auto& [folder, targets] : graph)
    for (const std::string& target : targets) CHECK(target.rfind("core/", 0) == 0);
}

TEST_CASE("A cycle of includes is found and named") {
  CHECK(cycle_of({{"a", {"b", "c"}}, {"b", {"c"}}, {"c", {}}}) == "");
  CHECK(cycle_of({{"a", {"b"}}, {"b", {"c"}}, {"c", {"b"}}}) == " > b > c > b");
}
