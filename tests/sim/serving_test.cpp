// The event simulation: what goes in comes out, clocks are consistent, runs repeat.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>

#include "core/base/quantile.h"
#include "sim/serving/serve.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::sim;
using doublep::test::contains;
using doublep::test::message_of;
using doublep::test::TempDir;

namespace {

Server simple_server() {
  Server s;
  s.step_seconds = [](int batch, double context) { return 1e-3 + 1e-5 * batch + 1e-9 * context; };
  s.prefill_seconds = [](std::int64_t prompt) { return 1e-6 * static_cast<double>(prompt); };
  s.sequence_bytes = [](std::int64_t tokens) { return static_cast<double>(tokens); };
  s.memory = 100000;
  s.most_running = 32;
  return s;
}

RequestPlan busy_plan(std::uint64_t seed = 1) {
  RequestPlan plan;
  plan.count = 400, plan.rate = 20, plan.seed = seed;
  plan.prompt = {2000, 0.7, 50000};
  plan.output = {80, 0.5, 1000};
  return plan;
}

}  // namespace

TEST_CASE("Every request finishes once, with the tokens it asked for", "[sim]") {
  const auto requests = make_requests(busy_plan());
  const ServingReport r = serve(simple_server(), requests);
  REQUIRE(r.served.size() == requests.size());
  double wanted = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const ServedRequest& s = r.served[i];
    CHECK(s.request.arrival == requests[i].arrival);
    CHECK(s.produced == requests[i].output);
    CHECK(s.admitted >= s.request.arrival);
    CHECK(s.first_token > s.admitted);
    CHECK(s.finished >= s.first_token);
    wanted += static_cast<double>(requests[i].output);
  }
  CHECK(r.tokens == wanted);
  CHECK(r.tokens_per_second == Approx(wanted / r.seconds));
  CHECK(r.peak_memory <= 100000);
  CHECK(r.peak_running <= 32);
  CHECK(r.busy <= 1 + 1e-12);
  CHECK(r.tpot_p50 <= r.tpot_p99);
}

TEST_CASE("Little's law: mean number in the system is arrival rate times mean stay", "[sim]") {
  const auto requests = make_requests(busy_plan(7));
  const ServingReport r = serve(simple_server(), requests);
  double stay = 0;
  for (const ServedRequest& s : r.served) stay += s.finished - s.request.arrival;
  const double n = static_cast<double>(r.served.size());
  CHECK(r.mean_in_system == Approx(n / r.seconds * (stay / n)).epsilon(0.02));
  CHECK(r.mean_running <= r.mean_in_system);
}

TEST_CASE("One request alone, by hand", "[sim]") {
  const ServingReport r = serve(simple_server(), {{2.0, 1000, 3}});
  CHECK(r.served[0].first_token == Approx(2.0 + 1e-3));
  const double steps = 2 * (1e-3 + 1e-5) + 1e-9 * (1001 + 1002);
  CHECK(r.served[0].finished == Approx(2.0 + 1e-3 + steps));
  CHECK(r.tpot_p50 == Approx(steps / 2));
  CHECK(r.ttft_p50 == Approx(1e-3));
  CHECK(r.busy == Approx((1e-3 + steps) / r.seconds));
}

TEST_CASE("Memory admits in order, and what never fits is rejected", "[sim]") {
  Server s = simple_server();
  s.memory = 2500;
  const ServingReport r = serve(s, {{0, 1000, 10}, {0, 1000, 10}, {0, 5000, 1}, {0, 1000, 10}});
  CHECK(r.rejected == 1);
  REQUIRE(r.served.size() == 3);
  CHECK(r.peak_running == 2);
  CHECK(r.served[2].admitted >= std::min(r.served[0].finished, r.served[1].finished));
  CHECK(r.tokens == 30);
}

TEST_CASE("A run repeats; another seed gives another one", "[sim]") {
  const ServingReport a = serve(simple_server(), make_requests(busy_plan(3)));
  const ServingReport b = serve(simple_server(), make_requests(busy_plan(3)));
  const ServingReport c = serve(simple_server(), make_requests(busy_plan(4)));
  CHECK(a.seconds == b.seconds);
  CHECK(a.tpot_p99 == b.tpot_p99);
  CHECK(a.seconds != c.seconds);
}

TEST_CASE("A faster server never ends later; more load never shortens the wait", "[sim]") {
  Server fast = simple_server();
  const auto step = fast.step_seconds;
  fast.step_seconds = [=](int batch, double context) { return 0.5 * step(batch, context); };
  const auto requests = make_requests(busy_plan());
  CHECK(serve(fast, requests).ttft_p99 <= serve(simple_server(), requests).ttft_p99);
  RequestPlan calm = busy_plan();
  calm.rate = 0.5;
  CHECK(serve(simple_server(), make_requests(calm)).ttft_p50 <=
        serve(simple_server(), requests).ttft_p50);
}

TEST_CASE("Drawn lengths and gaps follow the plan", "[sim]") {
  RequestPlan plan = busy_plan(5);
  plan.count = 20000;
  const auto requests = make_requests(plan);
  CHECK(requests.back().arrival / plan.count == Approx(1 / plan.rate).epsilon(0.03));
  std::vector<double> prompts;
  for (const Request& r : requests) prompts.push_back(static_cast<double>(r.prompt));
  CHECK(quantile(prompts, 0.5) == Approx(2000).epsilon(0.03));
  CHECK(quantile(prompts, 1) <= 50000);
}

TEST_CASE("Recorded requests, and what is wrong with them", "[sim]") {
  const TempDir folder;
  const std::string path = folder.file("r.csv");
  const auto write = [&](const std::string& text) { std::ofstream(path) << text; };
  write("arrival,prompt,output\n0,10,2\n1.5,20,3\n");
  const auto requests = read_requests(path);
  REQUIRE(requests.size() == 2);
  CHECK(requests[1].arrival == 1.5);
  CHECK(requests[1].output == 3);
  const auto broken = [&](const std::string& text) {
    write(text);
    return message_of([&] { read_requests(path); });
  };
  CHECK(contains(broken("a,b\n"), path + ":1:"));
  CHECK(contains(broken("arrival,prompt,output\n1,2\n"), ":2:"));
  CHECK(
      contains(broken("arrival,prompt,output\n5,2,2\n1,2,2\n"), ":3: arrivals must not decrease"));
  CHECK(contains(broken("arrival,prompt,output\n5,0,2\n"), ":2:"));
  CHECK(contains(broken("arrival,prompt,output\n"), "holds no requests"));
}
