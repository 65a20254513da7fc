#!/usr/bin/env bash
# The main job, from a fresh machine to plots: installs, builds, runs a sweep, writes the report.
#   bash experiments/main_job.sh [SWEEP.yaml]        default: configs/default.yaml
set -euo pipefail
cd "$(dirname "$0")/.."
sweep=${1:-configs/default.yaml}
bash experiments/install.sh
cmake --preset cpu >build-configure.log 2>&1 || { cat build-configure.log; exit 1; }
rm -f build-configure.log
cmake --build --preset cpu --target doublep
program=build/cpu/experiments/doublep
name=$(basename "$sweep" .yaml)
"$program" run "$sweep" --output "results/$name.h5"
"${PYTHON:-/usr/bin/python3}" analysis/report.py "results/$name.h5" --out "results/$name"
echo "the report with its plots is results/$name/report.md"
