#!/usr/bin/env bash
# Records the profiles of this folder anew: what each policy of the shipped configurations does on
# recorded and synthetic traces. Some minutes on two cores; the recorded traces beside the checkout
# are too large to ship, and what needs one is left out where it is missing.
#   sim/profiles/record.sh [program doublep] [folder to write to] [folder of the recorded traces]
# A profile of an unchanged policy is the same byte for byte; another build's may differ in the last
# digits of its errors.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
program=$(realpath "${1:-$root/build/release/experiments/doublep}")
out=$(realpath "${2:-$root/sim/profiles}")
traces=$(realpath -m "${3:-$root/../shared/traces}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Configuration, every so many-th step, name of the profile, traces...
record() {
  local config=$1 every=$2 name=$3 list=""
  shift 3
  for trace in "$@"; do
    if [ ! -f "$trace" ]; then
      echo "$name: left out, there is no $trace"
      return
    fi
    list="$list${list:+, }$trace"
  done
  echo "$name ($SECONDS s)"
  "$program" simulate "$root/configs/$config.yaml" --set "measure.every_step=$every" \
    --set "workloads=[{name: $name, traces: [$list]}]" --record "$out" 2>/dev/null
}

for k in 16 64 128; do
  "$program" synth --layers 1 --steps 12 --tokens $((k * 1024)) -o "$work/synth-${k}k.h5"
done
record simulate 4 synthetic "$work"/synth-{16,64,128}k.h5
record simulate_accuracy 8 accuracy-synthetic-64k "$work/synth-64k.h5"
record simulate_crossover 4 needle-8k "$root/data/qwen-needle-8k.h5"
record simulate 4 needle "$root/tests/data/needle-4k.h5" "$traces/needle-16k.h5"
record simulate 4 code "$traces/code-8k.h5"
record simulate_accuracy 8 accuracy-needle-16k "$traces/needle-16k.h5"
