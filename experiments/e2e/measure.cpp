#include "experiments/e2e/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <memory>

#include "core/base/error.h"
#include "core/base/half.h"
#include "core/base/output.h"
#include "core/base/quantile.h"
#include "cuda/decoder/factory.h"
#include "experiments/e2e/report.h"
#include "experiments/e2e/stack.h"

namespace doublep::e2e {
namespace {

struct Place {
  std::int64_t context;
  int batch;
  double tokens() const { return static_cast<double>(context) * batch; }
};

/// A clock from the program's start, and lines that are out as soon as they are said.
class Clock {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }
  template <class... Args>
  void say(const Args&... args) const {
    std::cout << std::fixed << std::setprecision(1) << std::setw(6) << seconds() << " s  ";
    (std::cout << ... << args) << std::endl;
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

double free_memory() {
  std::size_t free = 0, total = 0;
  DP_CUDA(cudaMemGetInfo(&free, &total));
  return static_cast<double>(free);
}
double gib(double bytes) { return bytes / (1 << 30); }

std::vector<bench::Setting> sorted(const std::vector<bench::Setting>& given) {
  std::vector<bench::Setting> settings;
  for (const std::size_t i : bench::in_order(given)) settings.push_back(given[i]);
  return settings;
}

std::vector<Place> small_to_large(const Options& o) {
  std::vector<Place> places;
  for (const int batch : o.batches)
    for (const std::int64_t context : o.contexts) places.push_back({context, batch});
  std::stable_sort(places.begin(), places.end(),
                   [](const Place& a, const Place& b) { return a.tokens() < b.tokens(); });
  return places;
}

class Run {
 public:
  Run(const Options& options, const std::vector<bench::Setting>& settings, StepReport& report,
      const Clock& clock, const bench::RecordedHeads& heads, Stack& stack, bench::Timer& timer)
      : o_(options),
        report_(report),
        clock_(clock),
        heads_(heads),
        stack_(stack),
        timer_(timer),
        settings_(sorted(settings)) {}

  void points() {
    const std::vector<Place> places = small_to_large(o_);
    for (const Place& place : places)
      left_ += place.tokens() * static_cast<double>(settings_.size());
    begin_ = clock_.seconds();
    for (const Place& place : places) {
      measure(place);
      write_json(report_, o_.json);
    }
  }

 private:
  void leave_out(const std::string& label, Place place, const std::string& why) {
    report_.left_out.push_back({label, place.context, place.batch, why});
    clock_.say("left out: ", label.empty() ? "" : label + ", ", "context ", place.context,
               ", batch ", place.batch, ": ", why);
  }

  /// Seconds that so many tokens of one policy take, as those before it did.
  double estimate(double tokens) const {
    return done_ > 0 ? (clock_.seconds() - begin_) / done_ * tokens : 0;
  }

  void measure(Place place) {
    const double each = bench::Subject::bytes(heads_, settings_, place.context, place.batch);
    const bool clustered = std::any_of(settings_.begin(), settings_.end(),
                                       [](const auto& s) { return s.plan.clustered(); });
    const double source = clustered ? bench::Subject::source_bytes(heads_, place.context) : 0.0;
    const double room = o_.memory_share * free_memory() - source;
    const int distinct = static_cast<int>(
        std::min<double>(std::min(o_.distinct, report_.shape.layers), std::floor(room / each)));
    const double tokens = place.tokens() * static_cast<double>(settings_.size());
    if (distinct < 1) {
      left_ -= tokens;
      return leave_out("", place,
                       concat("one layer takes ", gib(each + source),
                              " GiB, more than the share of "
                              "free memory that --memory-share allows"));
    }
    if (late(place)) return leave_out("", place, "--max-seconds"), void(left_ -= tokens);
    clock_.say("context ", place.context, ", batch ", place.batch, ": ", distinct,
               " layers with a cache of their own, ", gib(distinct * each + source), " of ",
               gib(free_memory()), " GiB free; ",
               done_ > 0 ? concat("about ", std::lround(estimate(left_)), " s left in all")
                         : std::string("the first"));
    std::unique_ptr<cuda::Cache> source_room;
    std::vector<std::unique_ptr<bench::Subject>> layers;
    dense_.clear();
    try {
      if (clustered) source_room = bench::Subject::make_source(heads_, place.context);
      for (int l = 0; l < distinct; ++l)
        layers.push_back(std::make_unique<bench::Subject>(heads_, place.context, place.batch, l));
    } catch (const cuda::CudaError& e) {
      return out_of_memory("", place, e), void(left_ -= tokens);
    }
    stack_.set_position(static_cast<double>(place.context));
    for (const bench::Setting& setting : settings_) {
      if (late(place)) {
        leave_out(setting.label, place, "--max-seconds");
      } else {
        try {
          for (auto& layer : layers) layer->prepare(setting, source_room.get());
          one(setting, place, layers);
        } catch (const cuda::CudaError& e) {
          out_of_memory(setting.label, place, e);
        }
      }
      left_ -= place.tokens(), done_ += place.tokens();
    }
  }

  bool late(Place place) const {
    return clock_.seconds() + estimate(place.tokens()) > o_.max_seconds;
  }

  /// An allocation that failed leaves the device in order; anything else does not.
  void out_of_memory(const std::string& label, Place place, const cuda::CudaError& e) {
    if (std::string(e.what()).find("cudaErrorMemoryAllocation") == std::string::npos) throw e;
    cudaGetLastError();
    leave_out(label, place, "an allocation failed");
  }

  void one(const bench::Setting& setting, Place place,
           const std::vector<std::unique_ptr<bench::Subject>>& layers) {
    const int distinct = static_cast<int>(layers.size());
    // Outside of a graph first: kernels are loaded at their first launch.
    layers[0]->enqueue(timer_.stream());
    DP_CUDA(cudaStreamSynchronize(timer_.stream()));
    const std::vector<float> alone = layers[0]->output();
    layers[0]->poison();
    const auto attend = [&](int l, cudaStream_t s) { return layers[l % distinct]->enqueue(s); };
    const auto times = timer_.graph_times(
        [&](cudaStream_t s) { stack_.enqueue(place.batch, attend, s); }, 2, o_.repeats);
    StepPoint p{.setting = setting};
    p.context = place.context, p.batch = place.batch, p.distinct = distinct;
    p.step_us = quantile(times, 0.5), p.p95_us = quantile(times, 0.95);
    for (const Products& without : report_.products)
      if (without.batch == place.batch) p.without_attention_us = without.without_attention_us;
    p.build_ms = layers[0]->build_ms(), p.build = layers[0]->build_work();
    judge(layers, p);
    if (o_.check) check(setting, place, alone, layers);
    for (const auto& layer : layers) p.reads.add(layer->reads(), 1.0 / distinct);
    report_.points.push_back(p);
    write_json(report_, o_.json);
    clock_.say("  ", std::left, std::setw(64), setting.label, std::right, std::setw(10), p.step_us,
               " us, attention ", std::setw(9), p.step_us - p.without_attention_us, " us, error ",
               std::setprecision(3), p.error_mean, ", 95 % of heads ", p.error_p95, ", worst ",
               p.error_max);
  }

  /// Errors against dense, over all layers with a cache of their own.
  void judge(const std::vector<std::unique_ptr<bench::Subject>>& layers, StepPoint& p) {
    const bool dense = p.setting.is_truth();
    std::vector<double> errors;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      std::vector<float> output = layers[l]->output();
      for (const float x : output)
        if (!std::isfinite(x))
          fail_input(p.setting.label, ", context ", p.context, ", batch ", p.batch, ", layer ", l,
                     ": the output holds what is no number; the step did not write all of it");
      if (dense && dense_.size() <= l) dense_.push_back(output);
      if (dense_.size() <= l) return;
      const auto mine = bench::relative_errors(output, dense_[l], heads_.head_dim());
      errors.insert(errors.end(), mine.begin(), mine.end());
    }
    p.has_error = true;
    for (const double e : errors) p.error_mean += e / static_cast<double>(errors.size());
    p.error_p95 = quantile(errors, 0.95), p.error_max = quantile(errors, 1);
  }

  /// The graph's last replay must have left what the same launches give outside of it, and the last
  /// layer's output projection must have read its attention's output.
  void check(const bench::Setting& setting, Place place, const std::vector<float>& alone,
             const std::vector<std::unique_ptr<bench::Subject>>& layers) {
    const auto apart = bench::relative_errors(layers[0]->output(), alone, heads_.head_dim());
    const double worst = *std::max_element(apart.begin(), apart.end());
    if (!(worst <= 1e-5))
      fail_input("check: ", setting.label,
                 ": layer 0's attention in the graph differs from the same "
                 "step outside of it, by ",
                 worst, " relatively");
    const auto last = layers[(report_.shape.layers - 1) % layers.size()]->output(place.batch);
    const auto read = stack_.attended(place.batch);
    for (std::size_t i = 0; i < last.size(); ++i)
      if (float_to_bfloat16(last[i]) != read[i])
        fail_input("check: ", setting.label,
                   ": the output projection of the last layer read other "
                   "numbers than its attention wrote, first at element ",
                   i);
    clock_.say("  check passed: layer 0 in the graph and outside differ by ", std::scientific,
               worst, std::fixed, " at most; the output projection reads the attention's output");
  }

  const Options& o_;
  StepReport& report_;
  const Clock& clock_;
  const bench::RecordedHeads& heads_;
  Stack& stack_;
  bench::Timer& timer_;
  const std::vector<bench::Setting> settings_;
  std::vector<std::vector<float>> dense_;   // outputs by layer
  double begin_ = 0, done_ = 0, left_ = 0;  // s; tokens times policies
};

}  // namespace

void run(const Options& o) {
  // Replaced after every point: a file, in a folder that is there.
  if (!o.json.empty())
    for (const OutputForm form : {OutputForm::kStream, OutputForm::kFile})
      check_output(o.json, form, o.traces);
  const Clock clock;
  StepReport report;
  cuda::Request request = bench::request_of(o.traces, 1);
  report.shape = shape_for(o.models, request.head_dim, request.num_query_heads, o.traces[0]);
  request.num_kv_heads = report.shape.kv_heads, request.num_query_heads = report.shape.heads;
  if (o.layers > report.shape.layers)
    fail_input("--layers ", o.layers, ": ", report.shape.model, " has ", report.shape.layers);
  if (o.layers > 0) report.shape.layers = o.layers;
  const auto settings = bench::parse_settings(o.policies, o.defaults, request);
  bench::check_prompts(settings, o.traces);
  if (o.dry_run) return bench::print_settings(settings, std::cout);
  if (const std::string problem = cuda::device_problem(); !problem.empty()) fail_input(problem);
  report.device = cuda::device_description(), report.repeats = o.repeats;
  clock.say(report.device, ", ", gib(free_memory()), " GiB free");
  const bench::RecordedHeads heads(o.traces, report.shape.kv_heads, static_cast<float>(o.noise),
                                   std::min(o.distinct, report.shape.layers));
  report.caches = heads.description();
  clock.say(report.shape.model, ", ", report.shape.layers, " layers");
  clock.say(report.caches);
  bench::Timer timer;
  report.read_ceiling = timer.read_ceiling(), report.launch_floor_us = timer.launch_floor();
  clock.say(report.read_ceiling * 1e-9, " GB/s read, ", report.launch_floor_us,
            " us for a graph with one empty launch; cuBLAS next");
  report.prefill = measure_prefill(report.shape, timer, o.prefill_rows, o.repeats);
  for (const Prefill& p : report.prefill)
    clock.say("prefill, ", p.rows, " rows: ", p.layer_us, " us a layer, ",
              p.flops / p.layer_us * 1e-6, " TFLOP/s");
  const int most = *std::max_element(o.batches.begin(), o.batches.end());
  if (const double needed = Stack::bytes(report.shape, most), free = free_memory();
      needed > o.memory_share * free)
    fail_input("the weights take ", gib(needed), " GiB, ", gib(free), " are free; fewer --layers");
  Stack stack(report.shape, most);
  clock.say("weights are there, ", gib(free_memory()), " GiB free");
  for (const int batch : o.batches) {
    report.products.push_back(measure_products(stack, timer, batch, o.repeats));
    const Products& p = report.products.back();
    clock.say("batch ", batch, " without attention: ", p.without_attention_us, " us; qkv ",
              p.qkv_us, ", o ", p.o_us, ", gate and up ", p.gate_up_us, ", down ", p.down_us,
              ", head ", p.head_us, ", small kernels ", p.small_us);
    write_json(report, o.json);
  }
  Run(o, settings, report, clock, heads, stack, timer).points();
  clock.say("done: ", report.points.size(), " points, ", report.left_out.size(), " left out");
}

}  // namespace doublep::e2e
