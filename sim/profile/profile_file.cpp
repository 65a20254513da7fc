#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <type_traits>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/output.h"
#include "core/base/text.h"
#include "sim/profile/profile.h"

namespace doublep::sim {
namespace {

constexpr const char* kFormat = "doublep-profile";

// One line's fields, with errors that name file and line.
class TextLine {
 public:
  TextLine(const std::string& text, std::string place) : place_(std::move(place)) {
    std::istringstream in(text);
    for (std::string field; std::getline(in, field, '\t');) fields_.push_back(field);
  }
  [[noreturn]] void fail(const std::string& message) const { fail_input(place_, ": ", message); }
  const std::string& text(std::size_t i) const {
    if (i >= fields_.size()) fail(concat("expected at least ", i + 1, " tab-separated fields"));
    return fields_[i];
  }
  // A finite number in [low, high].
  double number(std::size_t i, double low = 0,
                double high = std::numeric_limits<double>::max()) const {
    const std::string& field = text(i);
    const auto value = parse_real(field);
    if (!value || !(*value >= low && *value <= high))
      fail(high < std::numeric_limits<double>::max()
               ? concat("expected a number in [", low, ", ", high, "] in field ", i + 1, ", not '",
                        printable(field), "'")
               : concat("expected a number of at least ", low, " in field ", i + 1, ", not '",
                        printable(field), "'"));
    return *value;
  }
  template <class T>
  void read(std::size_t i, T& into, double low = 0) const {
    if constexpr (std::is_integral_v<T>) {
      const double most = std::is_same_v<T, std::int64_t> ? 1e15 : 2147483647.0;
      const double value = number(i, low, most);
      if (value != std::floor(value))
        fail(
            concat("expected a whole number in field ", i + 1, ", not '", printable(text(i)), "'"));
      into = static_cast<T>(value);
    } else {
      into = number(i, low);
    }
  }

 private:
  std::string place_;
  std::vector<std::string> fields_;
};

void read_row(const TextLine& line, ProfileRow& row) {
  line.read(1, row.layer), line.read(2, row.kv_head), line.read(3, row.step);
  line.read(4, row.visible_tokens), line.read(5, row.tokens), line.read(6, row.terms);
  line.read(7, row.widest_head);
  for (int s = 0; s < kNumStages; ++s) {
    line.read(8 + s, row.bytes[s]);
    line.read(8 + kNumStages + s, row.flops[s]);
  }
}

}  // namespace

void write_profiles(const std::string& path, const std::vector<Profile>& profiles) {
  std::ostringstream out;
  out.precision(10);
  out << kFormat << "\t1\n";
  for (const Profile& p : profiles) {
    out << "trace\t" << p.trace << '\t' << p.trace_hash << '\t' << p.group_size << '\t'
        << p.head_dim << '\t' << p.kv_heads << '\t' << p.context << '\n';
    out << "policy\t" << p.policy << '\t' << p.parameters << '\t' << p.recluster_every << '\t'
        << p.grown_segment << '\n';
    out << "index\t" << p.index.memory_bytes << '\t' << p.index.build.bytes << '\t'
        << p.index.build.flops << '\n';
    out << "quality\t" << p.output_error << '\t' << p.covered_mass << '\n';
    for (const HitPoint& hit : p.hits) out << "hit\t" << hit.share << '\t' << hit.rate << '\n';
    for (const ProfileRow& r : p.rows) {
      out << "row\t" << r.layer << '\t' << r.kv_head << '\t' << r.step << '\t' << r.visible_tokens
          << '\t' << r.tokens << '\t' << r.terms << '\t' << r.widest_head;
      for (double b : r.bytes) out << '\t' << b;
      for (double f : r.flops) out << '\t' << f;
      out << '\n';
    }
  }
  write_output(path, out.str());
}

std::vector<Profile> read_profiles(const std::string& path) {
  require_regular_file(path);
  std::ifstream in(path);
  std::vector<Profile> profiles;
  std::string text;
  for (int number = 1; std::getline(in, text); ++number) {
    const TextLine line(text, concat(path, ":", number));
    const std::string& tag = line.text(0);
    if (number == 1) {
      if (tag != kFormat || line.number(1) != 1)
        line.fail("expected 'doublep-profile' version 1; write one with --record");
    } else if (tag == "trace") {
      Profile& p = profiles.emplace_back();
      p.trace = line.text(1), p.trace_hash = line.text(2);
      line.read(3, p.group_size), line.read(4, p.head_dim), line.read(5, p.kv_heads);
      line.read(6, p.context);
    } else if (profiles.empty()) {
      line.fail("expected a 'trace' line first");
    } else if (Profile& p = profiles.back(); tag == "policy") {
      p.policy = line.text(1), p.parameters = line.text(2);
      line.read(3, p.recluster_every), line.read(4, p.grown_segment);
    } else if (tag == "index") {
      line.read(1, p.index.memory_bytes), line.read(2, p.index.build.bytes);
      line.read(3, p.index.build.flops);
    } else if (tag == "quality") {
      line.read(1, p.output_error), line.read(2, p.covered_mass);
    } else if (tag == "hit") {
      p.hits.push_back({line.number(1, 0, 1), line.number(2, 0, 1)});
    } else if (tag == "row") {
      read_row(line, p.rows.emplace_back());
    } else {
      line.fail(concat("unknown tag '", tag, "'"));
    }
  }
  if (profiles.empty()) fail_input(path, ":1: expected a profile, the file holds none");
  for (const Profile& p : profiles)
    if (p.rows.empty() || p.policy.empty() || p.group_size <= 0 || p.context <= 0)
      fail_input(path, ": the profile of ", p.trace, " is incomplete; record it again");
  return profiles;
}

}  // namespace doublep::sim
