// The YAML reader: what it refuses, and where it says the fault stands.
#include "core/yaml/yaml.h"

#include "experiments/config/values.h"
#include "tests/catch.h"
#include "tests/support/message.h"

using namespace doublep;
using namespace doublep::test;

namespace {

std::vector<std::string> texts(const std::string& yaml) {
  std::vector<std::string> out;
  for (const ParamValue& v : expand_values(Yaml::parse(yaml, "t").at("x")))
    out.push_back(to_text(v));
  return out;
}

}  // namespace

TEST_CASE("faults are named with file, line, column and key") {
  CHECK(message_of([] { Yaml::parse("a: 1\nb: 2\na: 3\n", "f.yaml"); }) ==
        "f.yaml:3:1: duplicate key 'a'; remove one of them");
  CHECK(message_of([] {
          Yaml::parse("x:\n  - {k: 1, k: 2}\n", "f.yaml");
        }).find("f.yaml:2:12: x[0]: duplicate key 'k'") == 0);
  CHECK(message_of([] { Yaml::parse("a: [1, 2", "f.yaml"); }).find("f.yaml:1:") == 0);
  const Yaml root = Yaml::parse("name: x\nsub: {count: many}\n", "f.yaml");
  CHECK(message_of([&] { root.only({"name"}); }) ==
        "f.yaml:2:1: unknown key 'sub'; known are name");
  CHECK(message_of([&] { root.at("sub").integer("count", 1); }) ==
        "f.yaml:2:14: sub.count: expected an integer, not 'many'");
  CHECK(message_of([&] { root.at("traces"); }) == "f.yaml:1:1: key 'traces' is missing");
  CHECK(message_of([] { Yaml::load("/nowhere/f.yaml"); }).find("/nowhere/f.yaml: no such file") ==
        0);
}

TEST_CASE("scalars keep the type they look like, and quotes make text") {
  const Yaml root = Yaml::parse("a: 3\nb: 3.0\nc: true\nd: '3'\ne: 1e-3\nf: word\n", "t");
  CHECK(root.at("a").value() == ParamValue(std::int64_t{3}));
  CHECK(root.at("b").value() == ParamValue(3.0));
  CHECK(root.at("c").value() == ParamValue(true));
  CHECK(root.at("d").value() == ParamValue(std::string("3")));
  CHECK(root.at("e").value() == ParamValue(1e-3));
  CHECK(root.at("f").value() == ParamValue(std::string("word")));
  CHECK_THROWS_AS(root.at("c").real(), InputError);
  CHECK_THROWS_AS(root.at("b").integer(), InputError);
  CHECK_THROWS_AS(root.at("a").integer(4, 9), InputError);
}

TEST_CASE("lists and ranges expand to values") {
  CHECK(texts("x: 0.5") == std::vector<std::string>{"0.5"});
  CHECK(texts("x: [1, 2.5, word]") == std::vector<std::string>{"1", "2.5", "word"});
  CHECK(texts("x: {from: 0.1, to: 0.5, step: 0.1}") ==
        std::vector<std::string>{"0.1", "0.2", "0.3", "0.4", "0.5"});
  CHECK(texts("x: {from: 16, to: 1024, count: 4, scale: log}") ==
        std::vector<std::string>{"16", "64", "256", "1024"});
  CHECK(texts("x: {from: 0, to: 1, count: 3}") == std::vector<std::string>{"0.0", "0.5", "1.0"});
  for (const char* bad : {"x: []", "x: {from: 1, to: 0, step: 1}", "x: {from: 0, to: 1}",
                          "x: {from: 0, to: 1, step: 0}", "x: {from: 0, to: 1, step: 1, count: 2}",
                          "x: {from: 0, to: 8, count: 3, scale: log}", "x: {from: 0, to: 1, by: 1}",
                          "x: {from: 0, to: 1, step: 1e-9}", "x: [[1]]"})
    CHECK_THROWS_AS(texts(bad), InputError);
}

TEST_CASE("an override reaches into maps, and makes those that are missing") {
  Yaml root = Yaml::parse("a: {b: 1}\nc: 2\n", "t");
  root.assign("a.b", "5", "--set a.b=5");
  root.assign("d.e", "[1, 2]", "--set d.e=[1, 2]");
  CHECK(root.at("a").integer("b", 0) == 5);
  CHECK(root.at("d").at("e").items().size() == 2);
  CHECK_THROWS_AS(root.assign("c.x", "1", "--set c.x=1"), InputError);
  CHECK_THROWS_AS(root.assign("a..b", "1", "--set a..b=1"), InputError);
}
