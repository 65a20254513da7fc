#!/usr/bin/env bash
# Writes the committed simulation reports anew, from the committed measurements and profiles:
#   analysis/simulation/make_reports.sh [path of the program doublep]
# Then look at the figures; tests/sim checks that the reports are what the program gives.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=${1:-build/ci/experiments/doublep}
python=${PYTHON:-/usr/bin/python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in simulate simulate_accuracy; do
  folder=analysis/results/${name/simulate/simulation}
  "$program" simulate "configs/$name.yaml" -o "$work/$name.h5" >/dev/null
  rm -f "$folder"/simulation_*.png
  "$python" analysis/simulation/report.py "$work/$name.h5" --out "$folder" --format png
done
