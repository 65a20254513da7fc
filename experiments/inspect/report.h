// The answer of `doublep inspect`, as an aligned table for people or as CSV.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "core/trace/trace.h"
#include "experiments/inspect/statistics.h"

namespace doublep {

/// Shape, model and task: a few lines "name: value".
void print_summary(const Trace& trace, std::ostream& out);

/// Where the mass lies. Header, one aligned line per head of at most 80 columns, and a last line
/// with the mean over all heads.
void print_table(const std::vector<HeadStatistics>& heads, std::ostream& out);

/// What kind of heads they are (InspectOptions::heads), in the same form, and what the columns
/// mean.
void print_kinds(const std::vector<HeadStatistics>& heads, std::ostream& out);

/// One row per head, every digit; written aside and renamed. Throws InputError.
void write_inspect_csv(const std::vector<HeadStatistics>& heads, bool kinds,
                       const std::string& path);

/// "0, 2-4" -> {0, 2, 3, 4}; empty text -> every layer of the trace that is supported. Throws
/// InputError for anything else, a layer that the trace does not hold, or where none is supported.
std::vector<int> parse_layers(const std::string& text, const TraceInfo& info);

}  // namespace doublep
