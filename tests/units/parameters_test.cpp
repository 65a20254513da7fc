// Are parameters typed, bounded and named in every refusal, and is their JSON canonical?
#include "core/base/parameters.h"

#include <cstdlib>
#include <limits>

#include "tests/support/message.h"

using namespace doublep;
using namespace doublep::test;
using Given = std::map<std::string, ParamValue>;

namespace {

const ParamSpecs kSpecs = {flag("loud", false, "a flag"), integer("count", 3, "a number", 1, 10),
                           real("ratio", 0.5, "a real"), share("p", 0.9, "a share"),
                           choice("mode", "slow", {"slow", "fast"}, "a choice")};

std::string refusal(const Given& given, const std::string& parameter) {
  const std::string message = message_of([&] {
    try {
      Parameters("toy", kSpecs, given);
    } catch (const ParameterError& error) {
      CHECK(error.parameter == parameter);
      throw;
    }
  });
  CHECK(contains(message, "toy"));
  CHECK(contains(message, parameter));
  return message;
}

}  // namespace

TEST_CASE("defaults are filled in and given values are kept") {
  const Parameters p("toy", kSpecs, {{"count", std::int64_t{10}}, {"loud", true}});
  CHECK(p.owner() == "toy");
  CHECK(p.flag("loud"));
  CHECK(p.integer("count") == 10);
  CHECK(p.real("ratio") == 0.5);
  CHECK(p.choice("mode") == "slow");
  CHECK(p.has("p"));
  CHECK(!p.has("q"));
  CHECK(p.values().size() == 5);
}

TEST_CASE("a whole number is a real, a real is no whole number") {
  CHECK(Parameters("toy", kSpecs, {{"ratio", std::int64_t{2}}}).real("ratio") == 2.0);
  CHECK(Parameters("toy", kSpecs, {{"p", std::int64_t{1}}}).real("p") == 1.0);
  CHECK(contains(refusal({{"count", 2.0}}, "count"), "integer"));
}

TEST_CASE("every wrong type is refused") {
  CHECK(contains(refusal({{"loud", std::int64_t{1}}}, "loud"), "true | false"));
  CHECK(contains(refusal({{"count", true}}, "count"), "integer"));
  CHECK(contains(refusal({{"count", std::string("x")}}, "count"), "x"));
  CHECK(contains(refusal({{"ratio", false}}, "ratio"), "real"));
  CHECK(contains(refusal({{"mode", 1.5}}, "mode"), "slow | fast"));
}

TEST_CASE("ranges include what they say") {
  CHECK(Parameters("toy", kSpecs, {{"count", std::int64_t{1}}}).integer("count") == 1);
  CHECK(contains(refusal({{"count", std::int64_t{0}}}, "count"), "[1, 10]"));
  CHECK(contains(refusal({{"count", std::int64_t{11}}}, "count"), "11"));
  CHECK(contains(refusal({{"p", 0.0}}, "p"), "(0, 1]"));
  CHECK(contains(refusal({{"p", 1.0000001}}, "p"), "1.0000001"));
  CHECK(contains(refusal({{"p", -0.5}}, "p"), "-0.5"));
  CHECK(contains(refusal({{"ratio", -1e-9}}, "ratio"), "at least 0"));
  CHECK(Parameters("toy", kSpecs, {{"p", 1e-300}}).real("p") == 1e-300);
}

TEST_CASE("what is not a number is in no range") {
  refusal({{"p", std::numeric_limits<double>::quiet_NaN()}}, "p");
  refusal({{"ratio", std::numeric_limits<double>::quiet_NaN()}}, "ratio");
  refusal({{"ratio", std::numeric_limits<double>::infinity()}}, "ratio");
}

TEST_CASE("an unknown name lists the known ones") {
  const auto message = refusal({{"cuont", std::int64_t{3}}}, "cuont");
  for (const auto& spec : kSpecs) CHECK(contains(message, spec.name));
  CHECK(contains(message_of([] { Parameters("bare", {}, {{"x", true}}); }), "none"));
}

TEST_CASE("a parameter without a default is required") {
  ParamSpecs specs = {integer("needed", 1, "what for")};
  specs[0].fallback.reset();
  const auto message = message_of([&] { Parameters("toy", specs, {}); });
  CHECK(contains(message, "needed"));
  CHECK(contains(message, "required"));
  CHECK(Parameters("toy", specs, {{"needed", std::int64_t{7}}}).integer("needed") == 7);
}

TEST_CASE("JSON is sorted, typed and does not depend on the order of declaration") {
  const Parameters p("toy", kSpecs, {{"ratio", std::int64_t{2}}});
  CHECK(p.to_json() == R"({"count": 3, "loud": false, "mode": "slow", "p": 0.9, "ratio": 2.0})");
  const ParamSpecs reversed(kSpecs.rbegin(), kSpecs.rend());
  CHECK(Parameters("toy", reversed, {{"ratio", 2.0}}).to_json() == p.to_json());
  CHECK(Parameters("bare", {}, {}).to_json() == "{}");
}

TEST_CASE("numbers are written so that they read back as themselves") {
  for (double x : {0.1, 1.0 / 3, 1e-300, 1e17, 123456.0, 0.95, 2.0, 5e-324})
    CHECK(std::strtod(to_text(ParamValue(x)).c_str(), nullptr) == x);
  CHECK(to_text(ParamValue(2.0)) != to_text(ParamValue(std::int64_t{2})));  // a real stays a real
  CHECK(to_text(ParamValue(true)) == "true");
}
