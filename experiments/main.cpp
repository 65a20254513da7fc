// The program `doublep`: parses the command line, turns errors into one line and an exit code.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>

#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/base/text.h"
#include "core/index/nearest_kernel.h"
#include "experiments/commands/commands.h"
#include "experiments/results/image.h"

namespace {

using namespace doublep;

constexpr const char* kNoMemory =
    "out of memory; use fewer threads, a smaller --truth-memory, a shorter trace or fewer layers";

// Before the objects of libraries' headers are made: where the loader left nothing, their
// exceptions have no memory either, and end in an abort.
[[gnu::constructor(101)]] void leave_where_nothing_fits() {
  if (may_grow_by(1 << 20)) return;
  for (const char* part : {"doublep: ", kNoMemory, "\n"})
    if (::write(STDERR_FILENO, part, std::strlen(part)) < 0) break;
  ::_exit(2);
}

std::string version_text() {
  const auto built = provenance();
  return concat("doublep, commit ", built.at("commit"), "\n", built.at("compiler"), ", ",
                built.at("flags"), "\n", built.at("libraries"), "\n");
}

// Edits from one word to the other; two neighbours swapped are one (optimal string alignment).
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i)
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        d[i][j] = i + j;
        continue;
      }
      d[i][j] = std::min(
          {d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

// "; did you mean 'run'?" for the name nearest to `word`, by letters to insert, drop, change or
// swap; empty where none is near.
std::string suggestion(const std::string& word, const std::vector<std::string>& names) {
  constexpr std::size_t kLongest = 40;  // nobody meant more than that
  if (word.size() > kLongest) return "";
  std::string best;
  std::size_t least = std::max<std::size_t>(1, word.size() / 3) + 1;  // not as far as this
  for (const std::string& name : names)
    if (const std::size_t d = distance(word, name); d < least) least = d, best = name;
  return best.empty() ? "" : "; did you mean '" + best + "'?";
}

// CLI11 would say that an argument was not expected; people want to know what they mistyped.
void check_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  if (std::find(names.begin(), names.end(), argv[1]) != names.end()) return;
  fail_input("there is no command '", argv[1], "'", suggestion(argv[1], names),
             "; doublep --help lists all");
}

int fail(const std::string& message, int code) {
  std::cout.flush();
  std::cerr << "doublep: " << printable(message) << std::endl;
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "doublep: which sparse attention for long-context decoding, and at what cost.\n"
      "Replays recorded query/KV traces through attention policies and measures mass, error and "
      "cost."};
  app.require_subcommand(1);
  app.set_version_flag("--version", version_text, "what this program was built from");
  app.set_help_all_flag("--help-all", "help of every subcommand");
  app.footer(
      "Exit codes: 0 success, 1 a regression, a target that nothing meets or tasks that failed, 2 "
      "bad input or cannot "
      "compare, 130 interrupted.");
  for (auto* add : {add_run, add_validate, add_inspect, add_synth, add_export, add_policies,
                    add_check, add_tune, add_merge, add_submit})
    add(app);
#ifdef DOUBLEP_WITH_CUDA
  add_bench(app);
#endif
#ifdef DOUBLEP_HAVE_SIM
  add_simulate(app);
#endif
  try {
    reserve_stack();
    (void)nearest_kernel();  // a wrong DOUBLEP_SIMD is refused before anything is done
    check_command(app, argc, argv);
    app.parse(argc, argv);
    if (!std::cout.flush()) return fail("standard output: writing failed; is the disk full?", 2);
    return 0;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const ExitWith& e) {
    return e.code;
  } catch (const InputError& e) {
    return fail(e.what(), 2);
  } catch (const std::filesystem::filesystem_error& e) {  // a path that the system cannot take
    return fail(concat(e.path1().string(), ": ", e.code().message(), "; check the path"), 2);
  } catch (const std::bad_alloc&) {
    return fail(kNoMemory, 2);
  } catch (const std::exception& e) {
    return fail(concat("unexpected: ", e.what()), 3);
  }
}
