#include "experiments/bench/bench.h"

#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <map>
#include <sstream>

#include "core/base/error.h"
#include "core/base/output.h"
#include "core/base/quantile.h"
#include "core/base/text.h"
#include "cuda/decoder/factory.h"
#include "cuda/select/select.h"
#include "experiments/bench/timing.h"

namespace doublep::bench {
namespace {

struct BenchReport {
  std::string device, caches;
  double ceiling = 0;                      ///< bytes per second read
  double floor_us = 0;                     ///< a graph with one empty launch
  std::vector<std::int64_t> lengths = {};  ///< of the mixed batch's sequences
  std::vector<TimedPoint> points = {};
  std::vector<MixedPoint> mixed = {};
};

constexpr int kName = 62;        // columns of a label
constexpr int kQueryStride = 7;  // steps of the recording between the queries that are timed

void print_header(const BenchReport& r, const RecordedHeads& w, std::ostream& out) {
  out << "device   " << r.device << "\ncaches   " << r.caches << "\nshape    "
      << w.kv_heads() * w.group() << " query heads, " << w.kv_heads() << " KV heads, head_dim "
      << w.head_dim() << ", bf16\nceiling  " << std::fixed << std::setprecision(0)
      << r.ceiling * 1e-9 << " GB/s read; a graph with one empty launch takes "
      << std::setprecision(1) << r.floor_us << " us\n"
      << "times in us, medians from a cold L2; est, sel, att: what each stage adds; MB: bytes the "
         "selection needs; ceil: share of the read ceiling on them; build, layer: index of one "
         "sequence, of all; rebuild: the latter "
         "every 1024 steps, as a share of a step\n\n"
      << std::left << std::setw(kName) << "policy" << std::right;
  for (const char* column :
       {"batch", "context", "step", "p95", "est", "sel", "att", "MB", "ceil%", "x dense", "exact%",
        "union%", "err mean", "err p95", "err max", "build ms", "layer ms", "rebuild%"})
    out << std::setw(9) << column;
  out << std::endl;
}

void print_point(const TimedPoint& p, std::ostream& out) {
  out << std::left << std::setw(kName) << p.setting->label << std::right << std::fixed
      << std::setw(9) << p.batch << std::setw(9) << p.context << std::setprecision(1);
  for (double v : {p.step_us, p.p95_us, p.estimate_us, p.select_us, p.attend_us,
                   p.reads.bytes() * 1e-6, 100 * p.ceiling_share})
    out << std::setw(9) << v;
  out << std::setprecision(2) << std::setw(9) << p.to_dense << std::setw(9)
      << 100 * p.reads.exact_share << std::setw(9) << 100 * p.reads.union_share
      << std::setprecision(4) << std::setw(9) << p.error_mean << std::setw(9) << p.error_p95
      << std::setw(9) << p.error_max << std::setprecision(2) << std::setw(9) << p.build_ms
      << std::setw(9) << p.layer_build_ms << std::setw(9) << 100 * p.rebuild_share() << std::endl;
}

void print_mixed(const BenchReport& r, std::ostream& out) {
  out << "\none batch of " << r.lengths.size() << " sequences:";
  for (const std::int64_t length : r.lengths) out << " " << length;
  out << "\nparts: every length's share of a batch of " << r.lengths.size()
      << " such; alone: its sequences by themselves\n"
      << std::left << std::setw(kName) << "policy" << std::right;
  for (const char* column :
       {"step", "parts", "of parts", "alone", "of alone", "est", "sel", "att", "ceil%", "err mean"})
    out << std::setw(9) << column;
  out << std::endl;
  for (const MixedPoint& m : r.mixed) {
    const TimedPoint& p = m.point;
    out << std::left << std::setw(kName) << p.setting->label << std::right << std::fixed
        << std::setprecision(1) << std::setw(9) << p.step_us << std::setw(9) << m.share_us
        << std::setprecision(2) << std::setw(9) << p.step_us / m.share_us << std::setprecision(1)
        << std::setw(9) << m.alone_us << std::setprecision(2) << std::setw(9)
        << p.step_us / m.alone_us << std::setprecision(1);
    for (const double v : {p.estimate_us, p.select_us, p.attend_us, 100 * p.ceiling_share})
      out << std::setw(9) << v;
    out << std::setprecision(4) << std::setw(9) << p.error_mean << std::endl;
  }
}

// The members of a point, without braces.
void write_point(const TimedPoint& p, std::ostream& out) {
  write_subject(*p.setting, p.reads, p.build, p.build_ms, out);
  out << ", \"context\": " << p.context << ", \"batch\": " << p.batch
      << ", \"step_us\": " << p.step_us << ", \"p95_us\": " << p.p95_us
      << ", \"estimate_us\": " << p.estimate_us << ", \"select_us\": " << p.select_us
      << ", \"attend_us\": " << p.attend_us << ", \"ceiling_share\": " << p.ceiling_share
      << ", \"layer_build_ms\": " << p.layer_build_ms
      << ", \"rebuild_share\": " << p.rebuild_share() << ", \"to_dense\": " << p.to_dense
      << ", \"error_mean\": " << p.error_mean << ", \"error_median\": " << p.error_median
      << ", \"error_p95\": " << p.error_p95 << ", \"error_max\": " << p.error_max;
}

void write_json(const BenchReport& r, const RecordedHeads& w, const std::string& path) {
  std::ostringstream out;
  out << std::setprecision(8)
      << "{\"format\": \"doublep-bench\", \"version\": 1, \"device\": " << json_text(r.device)
      << ", \"caches\": " << json_text(r.caches)
      << ", \"query_heads\": " << w.kv_heads() * w.group() << ", \"kv_heads\": " << w.kv_heads()
      << ", \"head_dim\": " << w.head_dim()
      << ", \"dtype\": \"bf16\", \"read_ceiling\": " << r.ceiling << ",\n \"points\": [";
  const char* separator = "\n";
  for (const TimedPoint& p : r.points) {
    out << separator << "  {";
    write_point(p, out);
    out << "}", separator = ",\n";
  }
  out << "\n]";
  if (!r.mixed.empty()) {
    out << ",\n \"mixed\": {\"lengths\": [";
    separator = "";
    for (const std::int64_t length : r.lengths) out << separator << length, separator = ", ";
    out << "], \"points\": [";
    separator = "\n";
    for (const MixedPoint& m : r.mixed) {
      out << separator << "  {";
      write_point(m.point, out);
      out << ", \"share_us\": " << m.share_us << ", \"alone_us\": " << m.alone_us << "}";
      separator = ",\n";
    }
    out << "\n]}";
  }
  out << "}\n";
  write_output(path, out.str());
}

class Bench {
 public:
  Bench(const BenchOptions& options, const RecordedHeads& heads, Timer& timer, double ceiling)
      : options_(options), heads_(heads), timer_(timer), ceiling_(ceiling) {}

  /// All settings over sequences of these lengths, in their order.
  std::vector<TimedPoint> measure(const std::vector<Setting>& settings,
                                  const std::vector<std::int64_t>& contexts) {
    dense_.clear();
    std::vector<TimedPoint> points(settings.size());
    std::unique_ptr<cuda::Cache> source;
    Subject subject(heads_, contexts);
    const std::int64_t longest = *std::max_element(contexts.begin(), contexts.end());
    for (const std::size_t i : in_order(settings)) {
      if (settings[i].plan.clustered() && !source) source = Subject::make_source(heads_, longest);
      subject.prepare(settings[i], source.get(), options_.launch, true);
      points[i] = one(settings[i], subject);
      points[i].context = longest, points[i].batch = static_cast<int>(contexts.size());
    }
    for (TimedPoint& p : points)
      for (const TimedPoint& d : points)
        if (d.setting->is_truth()) p.to_dense = d.step_us / p.step_us;
    return points;
  }

 private:
  TimedPoint one(const Setting& setting, Subject& subject) {
    TimedPoint p;
    p.setting = &setting;
    p.build_ms = subject.build_ms(), p.build = subject.build_work();
    p.layer_build_ms = subject.layer_build_ms();
    std::vector<double> times, estimate, select, errors;
    const auto append = [](std::vector<double>& to, const std::vector<double>& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    cuda::DecodeStep& step = subject.step();
    for (int q = 0; q < options_.queries; ++q) {
      subject.set_queries(q * kQueryStride);
      if (options_.stages && subject.has_index()) {
        append(estimate, timer_.graph_times([&](auto s) { step.enqueue_estimate(s, false); }, 1,
                                            options_.repeats / 2));
        append(select, timer_.graph_times(
                           [&](auto s) {
                             step.enqueue_estimate(s, false);
                             step.enqueue_select(s, options_.launch.overlap);
                           },
                           1, options_.repeats / 2));
      }
      append(times, timer_.graph_times([&](auto s) { step.enqueue(s); }, 2, options_.repeats));
      append(errors, compare(setting, subject, static_cast<std::size_t>(q)));
      p.reads.add(subject.reads(), 1.0 / options_.queries);
    }
    p.step_us = quantile(times, 0.5), p.p95_us = quantile(times, 0.95), p.attend_us = p.step_us;
    if (!estimate.empty()) {
      const double selected = quantile(select, 0.5);
      p.estimate_us = quantile(estimate, 0.5), p.select_us = selected - p.estimate_us;
      p.attend_us = p.step_us - selected;
    }
    p.ceiling_share = p.reads.bytes() / (p.step_us * 1e-6) / ceiling_;
    if (errors.empty()) return p;
    for (double e : errors) p.error_mean += e / static_cast<double>(errors.size());
    p.error_median = quantile(errors, 0.5), p.error_p95 = quantile(errors, 0.95);
    p.error_max = quantile(errors, 1);
    return p;
  }

  /// Relative distances to dense attention over the same cache; none where it was not timed.
  std::vector<double> compare(const Setting& setting, const Subject& subject, std::size_t q) {
    std::vector<float> output = subject.output();
    if (setting.is_truth()) {
      if (dense_.size() <= q) dense_.resize(q + 1);
      dense_[q] = output;
    }
    if (dense_.size() <= q) return {};
    return relative_errors(output, dense_[q], heads_.head_dim());
  }

  const BenchOptions& options_;
  const RecordedHeads& heads_;
  Timer& timer_;
  double ceiling_;
  std::vector<std::vector<float>> dense_;  // outputs by query
};

}  // namespace

MixedPoint mixed_point(TimedPoint point, const std::vector<MixedPart>& parts) {
  MixedPoint mixed{std::move(point)};
  for (const MixedPart& p : parts) {
    mixed.share_us += p.batch_us * p.count / p.batch;
    mixed.alone_us += p.alone_us;
  }
  return mixed;
}

void run_bench(const BenchOptions& options, std::ostream& out) {
  for (const std::int64_t context : options.mixed)
    if (context < 1) fail_input("--mixed ", context, ": expected tokens of a sequence, at least 1");
  if (!options.json.empty()) check_output(options.json, OutputForm::kStream, options.traces);
  const cuda::Request request = request_of(options.traces, options.kv_heads);
  const auto settings = parse_settings(options.fp8 ? with_fp8(options.policies) : options.policies,
                                       options.defaults, request);
  check_prompts(settings, options.traces);
  const auto fits = [&](std::int64_t context, int batch) {
    return 4.0 * request.head_dim * options.kv_heads * batch * static_cast<double>(context) <=
           options.memory_gib * (1ull << 30);
  };
  for (const std::int64_t context : options.mixed)
    if (!fits(context, static_cast<int>(options.mixed.size())))
      fail_input("--mixed ", context, ": ", options.mixed.size(), " such sequences take more than ",
                 options.memory_gib, " GiB; leave it out, or raise --memory");
  if (options.dry_run) return print_settings(settings, out);
  if (const std::string problem = cuda::device_problem(); !problem.empty())
    fail_input("bench: ", problem);
  std::vector<std::int64_t> contexts = options.mixed;
  if (contexts.empty())
    for (const std::int64_t context : options.contexts)
      for (const int batch : options.batches)
        if (fits(context, batch)) contexts.push_back(context);
  const int team = options.launch.select_team;
  check_rooms(
      settings, contexts, [&](cuda::SelectRule rule) { return cuda::ranked_room(rule, team); },
      team);
  const RecordedHeads heads(options.traces, options.kv_heads, static_cast<float>(options.noise));
  Timer timer;
  const double ceiling = timer.read_ceiling();
  BenchReport report{cuda::device_description(), heads.description(), ceiling, timer.launch_floor(),
                     options.mixed};
  print_header(report, heads, out);
  Bench bench(options, heads, timer, ceiling);
  // Complete after every context and batch, so that a run that is cut off leaves a file of what it
  // timed; a stream takes one file, at the end.
  namespace fs = std::filesystem;
  const bool kept =
      !options.json.empty() && (!fs::exists(options.json) || fs::is_regular_file(options.json));
  const auto measure = [&](std::int64_t context, int batch) {
    auto points = bench.measure(settings, std::vector<std::int64_t>(batch, context));
    for (const TimedPoint& p : points) print_point(p, out);
    report.points.insert(report.points.end(), points.begin(), points.end());
    if (kept) write_json(report, heads, options.json);
    return points;
  };
  for (const int batch : options.batches)
    for (const std::int64_t context : options.contexts)
      if (options.mixed.empty() && fits(context, batch)) measure(context, batch);
  if (const int batch = static_cast<int>(options.mixed.size()); batch > 0) {
    std::map<std::int64_t, int> counts;
    for (const std::int64_t context : options.mixed) ++counts[context];
    std::vector<std::vector<MixedPart>> parts(settings.size());
    for (const auto& [context, count] : counts) {
      const auto together = measure(context, batch);
      const auto alone = count == batch ? together : measure(context, count);
      for (std::size_t i = 0; i < settings.size(); ++i)
        parts[i].push_back({count, batch, together[i].step_us, alone[i].step_us});
    }
    auto points = bench.measure(settings, options.mixed);
    for (std::size_t i = 0; i < settings.size(); ++i)
      report.mixed.push_back(mixed_point(std::move(points[i]), parts[i]));
    print_mixed(report, out);
  }
  if (!options.json.empty()) write_json(report, heads, options.json);
}

}  // namespace doublep::bench
