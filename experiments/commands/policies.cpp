#include <CLI/CLI.hpp>
#include <iomanip>
#include <iostream>
#include <memory>

#include "core/policy/registry.h"
#include "experiments/commands/commands.h"

namespace doublep {
namespace {

void print(const PolicyInfo& policy) {
  std::cout << policy.name << "\n  " << policy.meaning << " (" << policy.source << ")\n";
  if (policy.traits.search != SearchKind::kNone)
    std::cout << "  ranks " << name_of(policy.traits.search)
              << (policy.traits.per_group ? " once a group" : "")
              << (policy.traits.grows ? "; new tokens join its index" : "")
              << (policy.oracle_priced(resolve(policy, {})) ? "; reads every key to choose" : "")
              << "\n";
  for (const ParamSpec& spec : policy.parameters)
    std::cout << "    " << std::left << std::setw(20) << spec.name << std::setw(9)
              << spec.type_name() << std::setw(14)
              << (spec.fallback ? to_text(*spec.fallback) : "required") << spec.meaning << "; "
              << spec.range_text() << "\n";
  for (const PolicyVariant& variant : policy.variants) {
    std::cout << "    variant: " << variant.name << ": " << variant.meaning;
    const char* separator = " (";
    for (const auto& [name, value] : variant.values) {
      std::cout << separator << name << ": " << to_text(value);
      separator = ", ";
    }
    std::cout << (variant.values.empty() ? "\n" : ")\n");
  }
}

}  // namespace

void add_policies(CLI::App& app) {
  auto names = std::make_shared<std::vector<std::string>>();
  CLI::App* command = app.add_subcommand(
      "policies", "List policies with their parameters, types, defaults and meaning");
  command->add_option("name", *names, "only these");
  command->callback([names] {
    if (names->empty())
      for (const PolicyInfo& policy : PolicyRegistry::instance().all()) print(policy);
    for (const std::string& name : *names) print(PolicyRegistry::instance().find(name));
  });
}

}  // namespace doublep
