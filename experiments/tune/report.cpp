#include "experiments/tune/report.h"

#include <cmath>
#include <iomanip>
#include <map>
#include <sstream>

#include "core/base/error.h"

namespace doublep {
namespace {

constexpr double kMiB = 1024.0 * 1024.0;

// Per layer where it is there at all (it is kept only where it is cheaper), unless only the one set
// of parameters meets the target on the steps that judge.
const Choice* chosen(const PolicyTuning& t, const Target& target) {
  if (t.per_layer && t.uniform && !target.met(t.per_layer->heldout.value) &&
      target.met(t.uniform->heldout.value))
    return &*t.uniform;
  return t.per_layer ? &*t.per_layer : t.uniform ? &*t.uniform : nullptr;
}

void print_choice(const char* name, const Choice& c, const ResultFile& result, const Target& target,
                  std::ostream& out) {
  out << "  " << name << ": " << std::setprecision(4) << c.tuning.bytes / kMiB
      << " MiB a layer and step; "
      << "tuning " << c.tuning.value << ", held out " << c.heldout.value
      << (target.met(c.heldout.value) ? " (met, margin " : " (NOT met, margin ")
      << std::setprecision(3) << 100 * target.margin(c.heldout.value) << " %), held-out bytes "
      << std::setprecision(4) << c.heldout.bytes / kMiB << " MiB\n";
  std::map<std::string, std::string> layers_by_label;
  for (std::size_t l = 0; l < c.layers.size(); ++l) {
    std::string& layers = layers_by_label[result.runs[c.runs[l]].label];
    layers += concat(layers.empty() ? "" : ", ", c.layers[l]);
  }
  for (const auto& [label, layers] : layers_by_label)
    out << "      " << label << "   (layers " << layers << ")\n";
}

}  // namespace

void print_tuning(const std::vector<PolicyTuning>& all, const ResultFile& result,
                  const Tuning& tuning, std::ostream& out) {
  out << "target: " << tuning.target.text() << "; judged on "
      << (tuning.holdout.spread ? "every so many steps, " : "the last steps, ")
      << std::lround(100 * tuning.holdout.share) << " % of them, which the choice did not see";
  if (tuning.safety > 0)
    out << "; bound tightened by " << 100 * tuning.safety << " % for the choice";
  out << "\n";
  for (const PolicyTuning& t : all) {
    out << "\n" << t.trace << ", " << t.policy << " (" << t.candidates << " candidates)\n";
    if (t.uniform) print_choice("one set of parameters", *t.uniform, result, tuning.target, out);
    if (t.per_layer) print_choice("parameters per layer", *t.per_layer, result, tuning.target, out);
    if (t.per_layer && t.uniform)
      out << "  per layer saves " << std::setprecision(3)
          << 100 * (1 - t.per_layer->tuning.bytes / t.uniform->tuning.bytes) << " % of the bytes"
          << (chosen(t, tuning.target) == &*t.uniform ? ", but only one set meets the target\n"
                                                      : "\n");
    if (!chosen(t, tuning.target))
      out << "  no candidate meets the target; the closest reaches " << std::setprecision(4)
          << t.closest << ": widen the lists\n";
    out << "  Pareto front on the held-out steps:\n";
    for (std::size_t i = 0; i < t.front.size(); ++i)
      out << "    " << std::fixed << std::setprecision(4) << std::setw(10)
          << t.front_scores[i].bytes / kMiB << " MiB  " << std::setw(9) << t.front_scores[i].value
          << std::defaultfloat
          << (tuning.target.met(t.front_scores[i].value) ? "  met  " : "       ")
          << result.runs[t.front[i]].label << "\n";
  }
}

std::string tuning_yaml(const std::vector<PolicyTuning>& all, const ResultFile& result,
                        const Tuning& tuning) {
  std::ostringstream out;
  out << "# Written by `doublep tune`. Target: " << tuning.target.text() << "\ntuned:\n";
  for (const PolicyTuning& t : all) {
    const Choice* c = chosen(t, tuning.target);
    if (!c) continue;
    out << "  - trace: " << t.trace << "\n    policy: " << t.policy
        << "\n    heldout: {value: " << c->heldout.value
        << ", bytes_per_layer_and_step: " << std::llround(c->heldout.bytes)
        << ", met: " << (tuning.target.met(c->heldout.value) ? "true" : "false")
        << "}\n    layers:\n";
    for (std::size_t l = 0; l < c->layers.size(); ++l)
      out << "      " << c->layers[l] << ": " << result.runs[c->runs[l]].parameters << "\n";
  }
  return out.str();
}

}  // namespace doublep
