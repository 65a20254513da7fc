#include "experiments/bench/report.h"

#include <iomanip>
#include <sstream>

#include "core/base/output.h"
#include "core/base/text.h"

namespace doublep::bench {
namespace {
constexpr int kName = 62;
}

void print_header(const BenchReport& r, const RecordedHeads& w, std::ostream& out) {
  out << "device   " << r.device << "\ncaches   " << r.caches << "\nshape    "
      << w.kv_heads() * w.group() << " query heads, " << w.kv_heads() << " KV heads, head_dim "
      << w.head_dim() << ", bf16\nceiling  " << std::fixed << std::setprecision(0)
      << r.ceiling * 1e-9 << " GB/s read; a graph with one empty launch takes "
      << std::setprecision(1) << r.floor_us << " us\n"
      << "times in us, medians from a cold L2; est, sel, att: what each stage adds; MB: bytes the "
         "selection needs; ceil: share of the read ceiling on them\n\n"
      << std::left << std::setw(kName) << "policy" << std::right;
  for (const char* column : {"batch", "context", "step", "p95", "est", "sel", "att", "MB", "ceil%",
                             "x dense", "exact%", "union%", "err mean", "err p95", "build ms"})
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
      << std::setprecision(2) << std::setw(9) << p.build_ms << std::endl;
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
    write_subject(*p.setting, p.reads, p.build, p.build_ms, out);
    out << ", \"context\": " << p.context << ", \"batch\": " << p.batch
        << ", \"step_us\": " << p.step_us << ", \"p95_us\": " << p.p95_us
        << ", \"estimate_us\": " << p.estimate_us << ", \"select_us\": " << p.select_us
        << ", \"attend_us\": " << p.attend_us << ", \"ceiling_share\": " << p.ceiling_share
        << ", \"to_dense\": " << p.to_dense << ", \"error_mean\": " << p.error_mean
        << ", \"error_median\": " << p.error_median << ", \"error_p95\": " << p.error_p95
        << ", \"error_max\": " << p.error_max << "}";
    separator = ",\n";
  }
  out << "\n]}\n";
  write_output(path, out.str());
}

}  // namespace doublep::bench
