#!/usr/bin/env bash
# Makes the reports anew, with every figure, and of each what is committed under analysis/results/:
#   analysis/regenerate.sh [default] [heads] [simulation] [rivals] [tables]     no names: all of them
# The full reports go to results/<name>/, which git ignores; the tree keeps the tables that tests
# and pages read, and the few figures that they show. `rivals` and `tables` (estimators, audit) need
# the recorded traces that their configurations name; the committed rivals/ and promise.md hold more traces than
# these (analysis/results/rivals/origin.md). The program is build/cpu/experiments/doublep,
# or $DOUBLEP. Then look at the figures, and at what git says has moved.
set -euo pipefail
cd "$(dirname "$0")/.."
export DOUBLEP=${DOUBLEP:-build/cpu/experiments/doublep}
python=${PYTHON:-/usr/bin/python3}
kept=analysis/results

keep() {  # name, files...
  mkdir -p "$kept/$1"
  (cd "results/$1" && cp "${@:2}" "$OLDPWD/$kept/$1/")
}

default() {
  "$DOUBLEP" run configs/default.yaml -o results/default.h5
  "$python" analysis/report.py results/default.h5 --out results/default
  keep default table.md cost_headline.png
}

heads() {
  mkdir -p results/heads
  "$DOUBLEP" inspect data/qwen-needle-8k.h5 --heads --csv results/heads/heads.csv >/dev/null
  "$python" -m analysis.heads_figure results/heads/heads.csv --out results/heads
  keep heads heads.png
}

simulation() {
  for name in simulate simulate_accuracy simulate_crossover; do
    local out=${name/simulate/simulation}
    "$DOUBLEP" simulate "configs/$name.yaml" -o "results/$name.h5" >/dev/null
    "$python" analysis/simulation/report.py "results/$name.h5" --out "results/$out"
    # The committed page is the text alone; a test holds it.
    "$python" analysis/simulation/report.py "results/$name.h5" --out "$kept/$out" --format md
  done
  keep simulation_accuracy simulation_time_at_equal_error_accuracy.png
  keep simulation_crossover simulation_models_crossover.png
}

rivals() {
  bash experiments/rivals_job.sh results/rivals
  keep rivals table.md ranking.md failures.md cost_headline.png
}

tables() {
  for name in ablation_estimators ablation_parts ablation_kinds audit facts promise seeds; do
    "$DOUBLEP" run "configs/$name.yaml" -o "results/$name.h5"
  done
  "$python" -m analysis.estimator_tables results/ablation_estimators.h5
  "$python" -m analysis.parts results/ablation_parts.h5
  "$python" -m analysis.parts results/ablation_kinds.h5 --page ablation_kinds
  "$python" -m analysis.promise results/promise.h5
  "$python" -m analysis.seeds_table results/seeds.h5
  "$python" -m analysis.audit_tables results/audit.h5
  "$python" analysis/report.py results/facts.h5 --out "$kept/facts" --only table --format md
}

[ $# -gt 0 ] || set -- default heads simulation rivals tables
for name in "$@"; do
  case $name in
    default | heads | simulation | rivals | tables) ;;
    *) echo "analysis/regenerate.sh: expected default, heads, simulation, rivals or tables, not '$name'" >&2; exit 2 ;;
  esac
done
for name in "$@"; do "$name"; done
