// Whole decode steps: a file made from known efficiencies gives these back, what was held out of
// the fit is predicted, and a wrong file has one line with its place. No figure here was measured.
#include "sim/calibration/end_to_end.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/trace/hdf5/h5.h"
#include "experiments/simulate/inputs.h"
#include "tests/catch.h"
#include "tests/sim/machine.h"
#include "tests/support/message.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::sim;
using namespace doublep::sim::test;
using doublep::test::contains;
using doublep::test::kRoot;
using doublep::test::message_of;
using doublep::test::replaced;
using doublep::test::run_program;
using doublep::test::TempDir;

namespace {

Hardware h100() { return load_hardware(kRoot + "/configs/hardware/h100-sxm.yaml"); }
Model llama() { return load_model(kRoot + "/configs/models/llama-3.1-8b.yaml"); }

Efficiency attention_efficiency() {
  Efficiency e;
  e[Access::kDense] = {0.92, 9e-6, 1}, e[Access::kSparse] = {0.86, 8e-6, 1};
  e[Access::kSummary] = {0.85, 4e-6, 1};
  for (SearchFit& s : e.searches) s = {3e-6, 2e-6, 3e8};
  return e;
}

constexpr double kProductShare = 0.88, kProductLatency = 2.5e-6, kSmall = 2e-6, kOffset = -3e-6,
                 kPrefill = 0.7;

// What the products of one layer (or the head: layers = 1) take: by hand, not by gemm_time().
double product_us(double n, double k, double rows, int launches) {
  const double bytes = 2 * (n * k + rows * (n + k)), bandwidth = 3184e9;
  return 1e6 * launches * (kProductLatency + bytes / (kProductShare * bandwidth));
}

struct Setting {
  const char* label;
  const char* search;
  double union_share, terms_share, summary_bytes;  // of a token and KV head
};
constexpr Setting kSettings[] = {
    {"dense", "none", 1, 0, 0},
    {"quest:budget=4096", "pages", 0.09, 0, 32},
    {"retroinfer", "clusters", 0.05, 0.2, 17},
    {"double_p:p1=0.95,p2=0.70,estimator=second_order,gqa=group_sum", "clusters", 0.1, 0.3, 17}};

std::string file_text(int layers = 32, double held_out_factor = 1) {
  std::ostringstream out;
  out.precision(12);
  out << "{\"format\": \"doublep-e2e\", \"version\": 3, \"device\": \"fixture\", \"caches\": "
         "\"fixture\", \"model\": \"llama-3.1-8b\",\n\"layers\": "
      << layers
      << ", \"query_heads\": 32, \"kv_heads\": 8, \"head_dim\": 128, \"hidden\": 4096, \"ffn\": "
         "14336, \"vocabulary\": 128256, \"dtype\": \"bf16\", \"read_ceiling\": 3.184e12,\n"
         "\"products\": [";
  const auto without = [&](int batch, std::ostream* parts) {
    const double qkv = product_us(6144, 4096, batch, layers),
                 o = product_us(4096, 4096, batch, layers),
                 gate_up = product_us(28672, 4096, batch, layers),
                 down = product_us(4096, 14336, batch, layers),
                 head = product_us(128256, 4096, batch, 1), small = 1e6 * kSmall * (4 * layers + 1);
    if (parts)
      *parts << "\"qkv_us\": " << qkv << ", \"o_us\": " << o << ", \"gate_up_us\": " << gate_up
             << ", \"down_us\": " << down << ", \"head_us\": " << head
             << ", \"small_us\": " << small;
    return qkv + o + gate_up + down + head + small;
  };
  const char* comma = "\n";
  for (const int batch : {1, 4, 8, 16}) {
    out << comma << "{\"batch\": " << batch
        << ", \"without_attention_us\": " << without(batch, nullptr) << ", ";
    without(batch, &out);
    out << "}", comma = ",\n";
  }
  out << "],\n\"prefill\": [{\"rows\": 512, \"layer_us\": " << 1e6 * 2e11 / (kPrefill * 989.4e12)
      << ", \"flops\": 2e11}],\n\"points\": [";
  comma = "\n";
  const Machine machine{h100(), attention_efficiency()};
  for (const Setting& s : kSettings) {
    for (const int context : {16384, 32768, 65536, 131072})
      for (const int batch : {1, 4, 8, 16}) {
        const double tokens = 8.0 * batch * context, items = s.summary_bytes > 0 ? tokens / 16 : 0;
        MeasuredPoint p;
        p.policy = std::string(s.label).substr(0, std::string(s.label).find(':'));
        p.label = s.label, p.context = context, p.batch = batch;
        p.stage_bytes = {0, tokens * s.summary_bytes, 0,
                         512 * tokens * s.union_share + 256 * items * s.terms_share};
        p.select_items = items / (8 * batch);
        const bool dense = p.policy == "dense", groups = s.search == std::string("clusters");
        p.search = dense ? Search::kHeads : groups ? Search::kGroup : Search::kPages;
        const double step =
            without(batch, nullptr) + 1e6 * layers * (predict(machine, p) + kSmall + kOffset);
        const double factor = is_held_out(s.label, context, batch, {3}) ? held_out_factor : 1;
        out << comma << "{\"label\": \"" << s.label << "\", \"policy\": \"" << p.policy
            << "\", \"search\": \"" << s.search
            << "\", \"ranks_groups\": " << (groups ? "true" : "false")
            << ", \"dense\": " << (dense ? "true" : "false") << ", \"context\": " << context
            << ", \"batch\": " << batch << ", \"distinct\": 4, \"step_us\": " << step * factor
            << ", \"estimate_bytes\": " << p.stage_bytes[1]
            << ", \"attend_bytes\": " << p.stage_bytes[3]
            << ", \"late_estimate_bytes\": 0, \"select_items\": " << p.select_items
            << ", \"build_ms\": 0, \"build_flops\": 0, \"error_mean\": 0.1}";
        comma = ",\n";
      }
  }
  out << "],\n\"left_out\": []}\n";
  return out.str();
}

std::string write(const TempDir& folder, const std::string& text) {
  const std::string path = folder.file("e2e.json");
  std::ofstream(path) << text;
  return path;
}

EndToEnd fit(const std::string& path, Efficiency& e) {
  return fit_end_to_end(h100(), llama(), load_measured_model(path), {3}, e);
}

}  // namespace

TEST_CASE("Whole steps made of known parts give the parts back", "[sim]") {
  const TempDir folder;
  Efficiency e = attention_efficiency();
  const EndToEnd found = fit(write(folder, file_text()), e);
  CHECK(e[Access::kGemm].share == Approx(kProductShare).epsilon(0.01));
  CHECK(e[Access::kGemm].latency == Approx(kProductLatency).epsilon(0.02));
  CHECK(e.small_latency == Approx(kSmall).epsilon(0.01));
  CHECK(e.attention_offset == Approx(kOffset).epsilon(0.02));
  CHECK(e.prefill_share == Approx(kPrefill).epsilon(0.01));
  CHECK(found.steps.size() == 64);
  CHECK(found.held_out.points == 20);
  CHECK(found.fitted.points == 44);
  CHECK(found.held_out.worst < 0.01);
  CHECK(found.products.size() == 4);
  for (const ProductsPrediction& p : found.products)
    CHECK(p.predicted.seconds == Approx(p.measured.seconds).epsilon(0.01));
  CHECK(found.steps[0].step.output_error == Approx(0.1));
  // Fewer layers were measured: the same parts.
  Efficiency probe = attention_efficiency();
  CHECK(fit(write(folder, file_text(2)), probe).held_out.worst < 0.01);
  CHECK(probe.attention_offset == Approx(kOffset).epsilon(0.05));
}

TEST_CASE("A held-out step does not move the fit of whole steps", "[sim]") {
  const TempDir folder;
  Efficiency one = attention_efficiency(), other = one;
  const EndToEnd before = fit(write(folder, file_text()), one),
                 after = fit(write(folder, file_text(32, 1.2)), other);
  CHECK(one.attention_offset == other.attention_offset);
  CHECK(one[Access::kGemm].share == other[Access::kGemm].share);
  CHECK(after.held_out.median == Approx(1 - 1 / 1.2).epsilon(0.05));
  CHECK(after.fitted.worst == before.fitted.worst);
}

TEST_CASE("Mistakes in a file of whole steps", "[sim]") {
  const TempDir folder;
  const std::string good = file_text();
  const auto says = [&](const std::string& text) {
    const std::string path = write(folder, text);
    return message_of([&] { check_shape(path, llama()), load_measured_model(path); });
  };
  CHECK_NOTHROW(check_shape(write(folder, good), llama()));
  CHECK(contains(says(replaced(good, "doublep-e2e", "doublep-bench")), "'doublep-e2e'"));
  CHECK(contains(says(replaced(good, "\"version\": 3", "\"version\": 2")), "expected version 3"));
  CHECK(contains(says(replaced(good, "\"hidden\": 4096", "\"hidden\": 2048")),
                 "llama-3.1-8b has 4096"));
  CHECK(contains(says(replaced(good, "\"small_us\"", "\"smal_us\"")), "smal_us"));
  CHECK(contains(says(replaced(good, "\"layers\": 32", "\"layers\": none")), "e2e.json:2:"));
  CHECK(contains(says(replaced(good, "\"step_us\": ", "\"step_us\": -")), "above 0"));
}

TEST_CASE("The program takes whole steps into its calibration and its file", "[sim]") {
  const TempDir folder;
  const std::string json = write(folder, file_text()), out = folder.file("r.h5");
  const std::string config = folder.file("plan.yaml");
  const auto plan = [&](const std::string& file) {
    std::ofstream(config)
        << "hardware: [" << kRoot << "/configs/hardware/h100-sxm.yaml]\nmodels: [" << kRoot
        << "/configs/models/llama-3.1-8b.yaml]\nworkloads:\n  - {name: "
        << "needle, profiles: [" << kRoot
        << "/sim/profiles/needle.tsv]}\npolicies: [{policy: dense}]\ncalibration: "
        << "{points: " << kRoot << "/cuda/results/2026-11-24-h100/bench.json, hardware: h100-sxm, "
        << "end_to_end: " << file << "}\ndecode: {context: 16384}\n";
    return run_program({"simulate", config, "-o", out}, folder.path());
  };
  const auto run = plan(json);
  INFO(run.err);
  REQUIRE(run.code == 0);
  CHECK(contains(run.out, "end to end, llama-3.1-8b with 32 layers"));
  CHECK_FALSE(contains(run.out, "matrix products"));  // they are measured now
  const h5::Handle file = h5::open_file(out);
  const h5::Handle group = h5::open_group(file.get(), "end_to_end", out);
  CHECK(h5::read_string(group.get(), "model", out) == "llama-3.1-8b");
  const auto missing = plan(folder.file("none.json"));
  CHECK(missing.code == 2);
  CHECK(contains(missing.err, "no such file"));
  const auto other = plan(write(folder, replaced(file_text(), "\"llama-3.1-8b\"", "\"llama-4\"")));
  CHECK(other.code == 2);
  CHECK(contains(other.err, "'llama-4' is not among the models"));
}
