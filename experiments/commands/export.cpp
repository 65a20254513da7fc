#include <CLI/CLI.hpp>
#include <memory>
#include <sstream>

#include "core/base/error.h"
#include "core/base/output.h"
#include "core/base/parameters.h"
#include "experiments/commands/commands.h"
#include "experiments/results/result_reader.h"
#include "experiments/results/stored_run.h"

namespace doublep {
namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

// One line per raw row; the run's columns are repeated, so that the table is tidy.
void write_csv(const ResultFile& file, std::ostream& out) {
  out << "trace,trace_hash,run,policy,backend,label,parameters,kv_dtype,seed,target_p,target_error";
  for (const RowField& field : row_fields()) out << "," << field.column.name;
  out << "\n";
  for (const StoredRun& run : file.runs) {
    const StoredTrace& trace = file.traces[run.trace];
    const std::string prefix = concat(
        quoted(trace.name), ",", trace.hash, ",", run.key, ",", run.policy, ",", run.backend, ",",
        quoted(run.label), ",", quoted(run.parameters), ",", run.kv_dtype, ",", run.seed, ",",
        to_text(ParamValue(run.target_p)), ",", to_text(ParamValue(run.target_error)));
    for (const Row& row : run.rows) {
      out << prefix;
      for (const RowField& field : row_fields()) out << "," << field.text(row);
      out << "\n";
    }
  }
}

}  // namespace

void add_export(CLI::App& app) {
  struct Options {
    std::string result, output = "-";
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("export", "Write a result's raw rows as tidy CSV");
  command->add_option("result", options->result, "result file of `doublep run`")->required();
  command->add_option("-o,--output", options->output, "CSV file; - is standard output")
      ->capture_default_str();
  command->callback([options] {
    check_output(options->output, OutputForm::kStream, {options->result});
    std::ostringstream text;
    write_csv(ResultFile::load(options->result), text);
    write_output(options->output, text.str());
  });
}

}  // namespace doublep
