#include <CLI/CLI.hpp>
#include <memory>
#include <sstream>

#include "core/base/error.h"
#include "core/base/output.h"
#include "core/base/parameters.h"
#include "experiments/commands/commands.h"
#include "experiments/results/result_reader.h"

namespace doublep {
namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

std::string number(double x) { return to_text(ParamValue(x)); }

// One line per raw row; the run's columns are repeated, so that the table is tidy.
void write_csv(const ResultFile& file, std::ostream& out) {
  out << "trace,trace_hash,run,policy,backend,label,parameters,kv_dtype,seed,target_p,layer,head,"
         "kv_head,step,visible_"
         "tokens,"
         "exact_tokens,approximated_clusters,oracle_tokens,exact_mass,covered_mass,output_error,"
         "cosine,lse_error,violation,audited_mass,audited_low,audited_high";
  for (const char* kind : {"bytes_", "flops_"})
    for (auto stage : kStageNames) out << "," << kind << stage;
  out << "\n";
  for (const StoredRun& run : file.runs) {
    const std::string prefix = concat(
        quoted(file.traces[run.trace].name), ",", file.traces[run.trace].hash, ",", run.key, ",",
        run.policy, ",", run.backend, ",", quoted(run.label), ",", quoted(run.parameters), ",",
        run.kv_dtype, ",", run.seed, ",", number(run.target_p), ",");
    for (const RowRecord& r : run.rows) {
      out << prefix << r.layer << "," << r.head << "," << r.kv_head << "," << r.step << ","
          << r.visible_tokens << "," << r.exact_tokens << "," << r.approximated_clusters << ","
          << r.oracle_tokens;
      for (double x : {r.exact_mass, r.covered_mass, r.output_error, r.cosine, r.lse_error})
        out << "," << number(x);
      out << "," << r.violation;
      for (double x : {r.audited_mass, r.audited_low, r.audited_high}) out << "," << number(x);
      for (double x : r.bytes) out << "," << number(x);
      for (double x : r.flops) out << "," << number(x);
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
