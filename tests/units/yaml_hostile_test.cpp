// YAML made to hang, crash or mislead a reader: refused in one line, at once.
#include <chrono>
#include <filesystem>
#include <fstream>

#include "core/yaml/yaml.h"
#include "tests/support/message.h"
#include "tests/support/paths.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::test;

namespace {

std::string parse_refusal(const std::string& text) {
  const auto start = std::chrono::steady_clock::now();
  const std::string message = message_of([&] { Yaml::parse(text, "f.yaml"); });
  // A second is the goal; a machine that is busy otherwise gets some more.
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  CHECK(message.size() < 1000);
  return message;
}

}  // namespace

TEST_CASE("an alias that contains itself is refused, in a list and in a map") {
  for (const char* text : {"a: &x [*x]\n", "a: &x {b: *x}\n", "a: &x [1, {b: [*x, *x]}]\n",
                           "&x [*x, *x, *x, *x]\n", "a: &x\n  - &y [*x, *y]\n"}) {
    const std::string message = parse_refusal(text);
    INFO(text << message);
    CHECK(contains(message, "f.yaml:"));
    CHECK(contains(message, "alias"));
  }
}

TEST_CASE("aliases that unfold without end are refused, those of use are not") {
  std::string laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n";
  for (int i = 1; i < 12; ++i) {
    laughs += concat("a", i, ": &a", i, " [");
    for (int k = 0; k < 10; ++k) laughs += concat(k ? ", " : "", "*a", i - 1);
    laughs += "]\n";
  }
  CHECK(contains(parse_refusal(laughs), "aliases unfold"));
  const Yaml root = Yaml::parse("base: &b {sink: 4, window: 64}\nuse: [*b, *b]\n", "f.yaml");
  CHECK(root.at("use").items()[1].integer("window", 0) == 64);
}

TEST_CASE("nesting is bounded") {
  const std::string deep = std::string(65, '[') + std::string(65, ']');
  CHECK(contains(parse_refusal("a: " + deep + "\n"), "levels deep"));
  const std::string deepest(100000, '[');
  CHECK(contains(parse_refusal("a: " + deepest), "not YAML"));
  CHECK(Yaml::parse("a: [[[[[[1]]]]]]\n", "f.yaml").has("a"));
}

TEST_CASE("a second document and merge keys are named") {
  CHECK(contains(parse_refusal("a: 1\n---\nb: 2\n"), "f.yaml:3:1: a second document"));
  CHECK(Yaml::parse("---\na: 1\n...\n", "f.yaml").integer("a", 0) == 1);
  CHECK(contains(parse_refusal("base: &b {x: 1}\nuse:\n  <<: *b\n  y: 2\n"),
                 "f.yaml:3:3: use: merge keys (<<) are not supported"));
  CHECK(Yaml::parse("'<<': 1\n", "f.yaml").integer("<<", 0) == 1);
}

TEST_CASE("a file without end, or longer than any configuration, is given up") {
  const auto start = std::chrono::steady_clock::now();
  CHECK(contains(message_of([] { Yaml::load("/dev/zero"); }), "name a regular file"));
  const TempDir dir;
  const std::string path = dir.file("long.yaml");
  std::ofstream(path) << "a: ";
  std::filesystem::resize_file(path, (64 << 20) + 1);
  CHECK(contains(message_of([&] { Yaml::load(path); }), "longer than 64 MiB"));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}

TEST_CASE("an error in what --set brought points at --set, any other at the file") {
  Yaml root = Yaml::parse("a: {b: 1}\nlist: [{c: 1}]\n", "f.yaml");
  root.assign("a.b", "many", "--set a.b=many");
  root.assign("new.deep.key", "0", "--set new.deep.key=0");
  root.assign("whole", "{x: [1, two]}", "--set whole={x: [1, two]}");
  const auto says = [](const auto& call) { return message_of(call); };
  CHECK(says([&] { root.at("a").integer("b", 0); }) ==
        "--set a.b=many: a.b: expected an integer, not 'many'");
  CHECK(says([&] { root.at("new").at("deep").only({"other"}); }) ==
        "--set new.deep.key=0: new.deep: unknown key 'key'; known are other");
  CHECK(says([&] { root.at("whole").at("x").items()[1].integer(); }) ==
        "--set whole={x: [1, two]}: whole.x[1]: expected an integer, not 'two'");
  CHECK(contains(says([&] {
                   root.only({"a", "list", "whole"});
                 }),
                 "--set new.deep.key=0: unknown key 'new'"));
  CHECK(contains(says([&] {
                   root.at("list").items()[0].at("c").text("d", "");
                   root.at("list").flag();
                 }),
                 "f.yaml:2:7: list: "));
  CHECK(contains(says([&] { root.assign("a.b", "[1", "--set a.b=[1"); }), "--set a.b=[1:1:"));
}

TEST_CASE("a damaged file in which the parser finds documents without end is refused") {
  const std::string path = kRoot + "/tests/data/endless_documents.yaml";
  const std::string message = message_of([&] { Yaml::load(path); });
  CHECK(contains(message, "endless_documents.yaml:13:"));
  CHECK(contains(message, "a second document"));
}
