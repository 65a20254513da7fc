// The README's example of a policy: compiled here as it stands there, and run.
#include "tests/catch.h"
#include "tests/example/strided.cpp"
#include "tests/support/paths.h"
#include "tests/support/program.h"

using namespace doublep;

TEST_CASE("the README shows the example policy as it is compiled") {
  const std::string code = test::slurp(test::kRoot + "/tests/example/strided.cpp");
  REQUIRE(!code.empty());
  CHECK(test::slurp(test::kRoot + "/README.md").find(code) != std::string::npos);
}

TEST_CASE("the example policy registers, resolves its parameters and selects") {
  PolicyRegistry registry;
  registry.add(strided_policy());
  const PolicyInfo& info = registry.find("strided");
  const Parameters parameters = resolve(
      info, {{"stride", std::int64_t{4}}, {"sink", std::int64_t{1}}, {"window", std::int64_t{2}}});
  const std::vector<float> rows(10 * 2, 1.0f);
  const KvHead cache = {rows.data(), rows.data(), 10, 2};
  const QueryGroup group = {rows.data(), 1, 2, 1.0, 0};
  GroupSelection out(1);
  info.create(parameters, {})->select(cache, group, out);
  CHECK(out.heads[0].tokens == std::vector<std::int32_t>{0, 4, 8, 9});
  CHECK_THROWS_AS(resolve(info, {{"stride", std::int64_t{0}}}), ParameterError);
}
