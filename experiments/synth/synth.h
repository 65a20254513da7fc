// Makes a kv-trace of any length with known structure.
#pragma once

#include "core/trace/trace.h"
#include "experiments/synth/options.h"

namespace doublep {

/// Attributes and positions of the trace that the options describe: the last `steps` tokens are
/// decoded, the others are the prompt.
TraceInfo synth_info(const SynthOptions& options);

/// Writes options.output; the same bytes for the same options, on any number of threads. Memory: a
/// few thousand tokens and the queries of one layer, whatever the length. Throws InputError where
/// the disk has no room for it, unless `beyond_disk`, and Interrupted once StopOnSignal was asked
/// to; neither leaves anything behind.
void write_synth(const SynthOptions& options);

}  // namespace doublep
