#!/usr/bin/env bash
# The comparison of all policies, on recorded and on long synthetic traces, into one report.
#   bash experiments/rivals_job.sh [FOLDER]     default: results/rivals
# Interrupted, it continues where it was. Needs the program of experiments/main_job.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-results/rivals}
program=${DOUBLEP:-build/cpu/experiments/doublep}
mkdir -p results/traces
for size in 64 256; do
  trace=results/traces/synth-${size}k.h5
  [ -f "$trace" ] || "$program" synth -o "$trace" --tokens $((size * 1024)) --steps 8 --layers 1 \
    --query-heads 4 --kv-heads 1
done
"$program" run configs/rivals.yaml -o results/rivals.h5
"$program" run configs/rivals_long.yaml -o results/rivals_long.h5
"${PYTHON:-/usr/bin/python3}" analysis/report.py results/rivals.h5 results/rivals_long.h5 --out "$out"
echo "the report is $out/report.md"
