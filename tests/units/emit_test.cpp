// YAML that is written reads back as what it was, text and numbers alike.
#include "experiments/config/emit.h"

#include <cmath>

#include "core/yaml/yaml.h"
#include "tests/catch.h"

using namespace doublep;

TEST_CASE("text of any kind comes back as text") {
  for (const std::string text : {"dense",
                                 "bob's trace.h5",
                                 "say \"hi\"",
                                 "a: b",
                                 "# no comment",
                                 "- item",
                                 "1",
                                 "0.5",
                                 "true",
                                 "no",
                                 "~",
                                 "null",
                                 "",
                                 " padded ",
                                 "{a, b}",
                                 "*alias",
                                 "&anchor",
                                 "!tag",
                                 "<<",
                                 "tab\there",
                                 "two\nlines",
                                 "two\nlines\n",
                                 "ends\n\n",
                                 "\x1b[31m",
                                 "\xc3\xa9t\xc3\xa9",
                                 "1e5",
                                 "0123456789012345",
                                 ".nan",
                                 "name: mine\npolicies:\n  - {policy: dense}\n"}) {
    YamlWriter out;
    out.map().entry("plain", text).key(text).value("x");
    out.key("flow").map(YamlWriter::kFlow).entry("a", text).end().end();
    INFO(out.text());
    const Yaml root = Yaml::parse(out.text(), "t");
    CHECK(root.at("plain").value() == ParamValue(text));
    CHECK(root.keys()[1] == text);
    CHECK(root.at("flow").at("a").value() == ParamValue(text));
  }
}

TEST_CASE("numbers come back to the last bit, parameters with their type") {
  YamlWriter out;
  out.map().key("all").list(YamlWriter::kFlow);
  const std::vector<double> numbers = {0.1, 1.0 / 3, 1234567890123457.0, 1e300, 5e-324, -2.5};
  for (double x : numbers) out.value(x);
  out.end();
  out.entry("whole", ParamValue(std::int64_t{4})).entry("real", ParamValue(4.0));
  out.entry("flag", ParamValue(true)).entry("text", ParamValue(std::string("4")));
  out.entry("nan", std::nan("")).entry("low", -INFINITY).end();
  const Yaml root = Yaml::parse(out.text(), "t");
  const auto items = root.at("all").items();
  for (std::size_t i = 0; i < numbers.size(); ++i)
    CHECK(items[i].real(-INFINITY, INFINITY) == numbers[i]);
  CHECK(root.at("whole").value() == ParamValue(std::int64_t{4}));
  CHECK(root.at("real").value() == ParamValue(4.0));
  CHECK(root.at("flag").value() == ParamValue(true));
  CHECK(root.at("text").value() == ParamValue(std::string("4")));
  CHECK(std::isnan(root.at("nan").node().as<double>()));
  CHECK(root.at("low").node().as<double>() == -INFINITY);
}

TEST_CASE("layout: a line an item in blocks, one line in flow, comments first") {
  YamlWriter out;
  out.comment("Written by a test.").map().entry("format", "f-1").key("list").list();
  out.value(1).map(YamlWriter::kFlow).entry("a", 1).key("b").list().value(2).end().end();
  out.end().key(7).map().entry("x", 0.5).end().end();
  CHECK(out.text() ==
        "# Written by a test.\nformat: f-1\nlist:\n  - 1\n  - {a: 1, b: [2]}\n7:\n  x: 0.5\n");
}
