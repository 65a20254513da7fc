#include "experiments/e2e/report.h"

#include <iomanip>
#include <sstream>

#include "core/base/output.h"
#include "core/base/text.h"

namespace doublep::e2e {
namespace {

/// `name`: [each item], one a line.
template <class Items, class Write>
void list(std::ostream& out, const char* name, const Items& items, const Write& write) {
  out << ",\n \"" << name << "\": [";
  const char* separator = "\n  {";
  for (const auto& item : items) {
    out << separator;
    write(item);
    out << "}";
    separator = ",\n  {";
  }
  out << "\n ]";
}

void write(const StepReport& r, std::ostream& out) {
  const StackShape& s = r.shape;
  out << std::setprecision(8)
      << "{\"format\": \"doublep-e2e\", \"version\": 3,\n \"device\": " << json_text(r.device)
      << ",\n \"caches\": " << json_text(r.caches) << ",\n \"model\": " << json_text(s.model)
      << ", \"layers\": " << s.layers << ", \"query_heads\": " << s.heads
      << ", \"kv_heads\": " << s.kv_heads << ", \"head_dim\": " << s.head_dim
      << ", \"hidden\": " << s.hidden << ", \"ffn\": " << s.ffn
      << ", \"vocabulary\": " << s.vocabulary
      << ", \"dtype\": \"bf16\",\n \"read_ceiling\": " << r.read_ceiling
      << ", \"launch_floor_us\": " << r.launch_floor_us << ", \"repeats\": " << r.repeats;
  list(out, "products", r.products, [&](const Products& p) {
    out << "\"batch\": " << p.batch << ", \"without_attention_us\": " << p.without_attention_us
        << ", \"qkv_us\": " << p.qkv_us << ", \"o_us\": " << p.o_us
        << ", \"gate_up_us\": " << p.gate_up_us << ", \"down_us\": " << p.down_us
        << ", \"head_us\": " << p.head_us << ", \"small_us\": " << p.small_us;
  });
  list(out, "prefill", r.prefill, [&](const Prefill& p) {
    out << "\"rows\": " << p.rows << ", \"layer_us\": " << p.layer_us << ", \"flops\": " << p.flops;
  });
  list(out, "points", r.points, [&](const StepPoint& p) {
    bench::write_subject(p.setting, p.reads, p.build, p.build_ms, out);
    out << ", \"context\": " << p.context << ", \"batch\": " << p.batch
        << ", \"distinct\": " << p.distinct << ", \"step_us\": " << p.step_us
        << ", \"p95_us\": " << p.p95_us << ", \"without_attention_us\": " << p.without_attention_us;
    if (p.has_error)
      out << ", \"error_mean\": " << p.error_mean << ", \"error_p95\": " << p.error_p95
          << ", \"error_max\": " << p.error_max;
  });
  list(out, "left_out", r.left_out, [&](const LeftOut& l) {
    out << "\"label\": " << json_text(l.label) << ", \"context\": " << l.context
        << ", \"batch\": " << l.batch << ", \"why\": " << json_text(l.why);
  });
  out << "}\n";
}

}  // namespace

void write_json(const StepReport& report, const std::string& path) {
  if (path.empty()) return;
  std::ostringstream out;
  write(report, out);
  write_output(path, out.str());
}

}  // namespace doublep::e2e
