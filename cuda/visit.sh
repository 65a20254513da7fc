#!/usr/bin/env bash
# Everything that needs a GPU, in one go: build, parity, compute-sanitizer, the same sweeps on both
# backends, bench, a batch of different lengths, selections that end at an error, a profile by Nsight Compute, PyTorch's attention,
# other shapes, and a decode step of all layers. Usage: cuda/visit.sh [trace.h5 ...]; results go to $OUT_DIR. The decode step is of the model
# whose heads the traces have (Llama-3.1-8B, Qwen2.5-Coder-1.5B: experiments/e2e); E2E_TRACES names traces of another one, timed
# as well, E2E_SECONDS how long each may take. RECORDED names long traces, such as data/record_zoo_gpu.sh leaves on this machine, each of which is timed at its own length. PYTHON_TESTS=test_on_gpu.py leaves out those tests of the package that no GPU changes.
# STEPS="bench mixed" does these alone, in this order, after the build, which goes on from what BUILD_DIR holds; below are their names. Then, anywhere:
# python3 -m analysis.recalibrate RUN fits the simulator to it and says its errors.
set -u -o pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=$(realpath -m "${OUT_DIR:-$PWD/visit-out}")
build=${BUILD_DIR:-$root/build/visit}
arch=${DOUBLEP_CUDA_ARCHITECTURES:-90}
cores=$(nproc)
traces=("$@")
[ ${#traces[@]} -gt 0 ] || traces=("$root/tests/data/needle-4k.h5")
read -ra other_model <<< "${E2E_TRACES:-}"
all_steps="parity sanitizers backends bench recorded mixed to_error profile pytorch shapes whole"
steps=${STEPS:-$all_steps}
[[ $steps =~ [^[:space:]] ]] || steps=nothing
for name in $steps; do
  [[ " $all_steps " == *" $name "* ]] || { echo "cuda/visit.sh: STEPS names $name; there are: $all_steps"; exit 2; }
done
mkdir -p "$out"
rm -f "$out/settings.txt"
failed=0
step() { echo "== $1 ($SECONDS s)"; }
check() { if [ "$1" -ne 0 ]; then echo "FAILED: $2 (exit code $1)"; failed=1; fi; }

step "build for sm_$arch"
package=()
python3 -c "import nanobind" 2> /dev/null && package=(-DDOUBLEP_PYTHON=ON "-DPython_EXECUTABLE=$(command -v python3)")
{ cmake -S "$root" -B "$build" -G Ninja -DDOUBLEP_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=90 \
    -DDOUBLEP_CUDA_ARCHITECTURES="$arch" -DDOUBLEP_BENCHMARKS=OFF ${package[@]+"${package[@]}"} &&
  ninja -C "$build" doublep doublep_device doublep_test_parity ${package[0]:+doublep_python} &&
  { ! grep -q "^build doublep_e2e:" "$build/build.ninja" || ninja -C "$build" doublep_e2e; }; } > "$out/build.log" 2>&1
check $? "build, see build.log"
program=$(find "$build" -type f -name doublep -perm -u+x | head -1)
parity=$(find "$build" -type f -name doublep_test_parity | head -1)
{ echo "commit   ${COMMIT:-$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)}"
  echo "date     $(date -u +%FT%TZ)"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  nvcc --version | tail -1
  "$(find "$build" -type f -name doublep_device | head -1)"; } | tee ${STEPS:+-a} "$out/device.txt"  # where a visit goes on: it may be another card

step "what will be timed"
end_to_end=$(find "$build" -type f -name doublep_e2e -perm -u+x | head -1)
models=(--model "$root/configs/models/llama-3.1-8b.yaml" "$root/configs/models/qwen2.5-coder-1.5b.yaml")
said() {  # command...
  "$@" --dry-run >> "$out/settings.txt" 2>&1
  check $? "${1##*/} does not take its own settings, see settings.txt"
}
said "$program" bench "${traces[@]}"
[ -z "$end_to_end" ] || said "$end_to_end" "${traces[@]}" "${models[@]}"
[ -z "$end_to_end" ] || [ ${#other_model[@]} -eq 0 ] || said "$end_to_end" "${other_model[@]}" "${models[@]}"

parity() {
  # Side by side: most of their time is the CPU's, which replays what the GPU did. By lists of names, since Catch2 2 has no shards.
  shards=$((cores > 4 ? cores - 2 : 1))
  names=$("$parity" --list-test-names-only 2> /dev/null)  # Catch2 2, whose exit code is their number
  [ -n "$names" ] || names=$("$parity" --list-tests --verbosity quiet 2> /dev/null)
  sed '/^[[:space:]]*$/d; s/^[[:space:]]*//; s/[],[]/\\&/g' <<< "$names" > "$out/parity.names"
  count=$(wc -l < "$out/parity.names")  # a list of none would be all of them
  [ "$shards" -le "$count" ] || shards=$((count > 0 ? count : 1))
  for i in $(seq 0 $((shards - 1))); do
    ( awk "NR % $shards == $i" "$out/parity.names" > "$out/parity-$i.names"
      DOUBLEP_TRACES=$(IFS=:; echo "${traces[*]}") "$parity" -f "$out/parity-$i.names" > "$out/parity-$i.txt" 2>&1
      echo $? > "$out/parity-$i.rc" ) &
  done
  if [ ${#package[@]} -gt 0 ]; then
    PYTHONPATH=$build/python python3 -m unittest discover -v -s "$root/tests/python" -p "${PYTHON_TESTS:-test*.py}" > "$out/python.txt" 2>&1
    check $? "Python package, see python.txt"
    tail -1 "$out/python.txt"
  else
    echo "SKIPPED: python3 has no nanobind here, so that the package is not built"
  fi
  wait
  rm -f "$out/parity.txt"
  for i in $(seq 0 $((shards - 1))); do
    check "$(cat "$out/parity-$i.rc" || echo 1)" "parity, shard $((i + 1)) of $shards, see parity.txt"
    { echo "== shard $((i + 1)) of $shards"; cat "$out/parity-$i.txt"; } >> "$out/parity.txt"
    rm -f "$out/parity-$i."{txt,rc,names}
  done
  ran=$(awk '/^All tests passed/ {gsub(/[(]/, ""); cases += $7} /^test cases:/ {cases += $3} END {print cases + 0}' "$out/parity.txt")
  echo "parity: $ran of $(wc -l < "$out/parity.names") cases, $(grep -c "^SKIPPED" "$out/parity.txt") of them skipped"
  [ "$ran" -eq "$(wc -l < "$out/parity.names")" ]
  check $? "parity ran $ran cases, not all, see parity.txt"
  rm -f "$out/parity.names"
  grep -E "^(test cases|assertions|All tests)" "$out/parity.txt"
}

sanitizers() {
  tools="memcheck racecheck initcheck synccheck"
  for tool in $tools; do  # side by side: most of their time is the CPU's
    cases="[quick]"
    [ $tool != racecheck ] || cases="[race]"  # it takes a hundred times as long
    ( timeout 270 compute-sanitizer --tool $tool --error-exitcode 9 --print-limit 20 \
        "$parity" "$cases" > "$out/$tool.txt" 2>&1; echo $? > "$out/$tool.rc" ) &
  done
  wait
  for tool in $tools; do
    check "$(cat "$out/$tool.rc" || echo 1)" "$tool, see $tool.txt"
    rm -f "$out/$tool.rc"
    echo "$tool: $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$out/$tool.txt" | tail -1)"
  done
}

backends() {
  python=${PYTHON:-/usr/bin/python3}
  for suffix in "" _to_error; do
    both=$out/both$suffix.h5
    rm -rf "$both" "$both.parts"
    timeout -k 5 180 "$program" run "$root/cuda/both_backends$suffix.yaml" -o "$both" > "$out/sweep$suffix.txt" 2>&1
    check $? "sweep, see sweep$suffix.txt"
    tail -1 "$out/sweep$suffix.txt" | sed "s#$out/##"
    if "$python" -c "import h5py, numpy" 2> /dev/null; then
      (cd "$root" && "$python" -m analysis.backends "$both") > "$out/backends$suffix.txt" 2>&1
      check $? "both backends agree, see backends$suffix.txt"
      tail -1 "$out/backends$suffix.txt"
    else
      echo "SKIPPED: $python has no h5py here; elsewhere: python3 -m analysis.backends both$suffix.h5"
    fi
  done
}

bench() {
  "$program" bench "${traces[@]}" ${BENCH_ARGS:-} --json "$out/bench.json" > "$out/bench.txt" 2>&1
  check $? "bench, see bench.txt"
  grep -E "^(device|ceiling|dense|double_p:p1=0.95,p2=0.70 )" "$out/bench.txt" | cut -c1-160
}

best=double_p:variant=best,head_kinds=one,tokens_per_cluster=32
to_error=$best,stop=error,calibration=prompt

recorded() {  # nothing is repeated, so that clusters are those of a real cache of this length
  rm -f "$out/recorded.txt"
  [ -n "${RECORDED:-}" ] || { echo "SKIPPED: RECORDED names no traces to be timed at their own length"; return; }
  for trace in $RECORDED; do
    tokens=$("$program" validate "$trace" 2>> "$out/recorded.txt" | sed -n 's/.*: a valid trace: \([0-9]*\) tokens.*/\1/p')
    name=$(basename "$trace" .h5)
    { echo "== $trace, $tokens tokens"
      [ -n "$tokens" ] && "$program" bench "$trace" -c "$tokens" -b 1 8 -p dense -p quest:budget=0.25 -p twilight:p=0.95 \
        -p retroinfer -p retroinfer:retrieval=0.1,estimation=0.2 -p double_p:p1=0.95,p2=0.70 \
        -p "$best,share=0.02" -p "$best,share=0.04" -p "$best,share=0.08" -p "$best,share=0.04,kv_dtype=fp8" \
        --json "$out/recorded-$name.json"; } >> "$out/recorded.txt" 2>&1
    check $? "$trace at its own length, see recorded.txt"
  done
  grep -E "^(==|dense|retroinfer|double_p)" "$out/recorded.txt" | cut -c1-190
}

mixed() {
  "$program" bench "${traces[@]}" --mixed ${MIXED:-8192 8192 16384 16384 32768 65536 131072 131072} \
      -p dense -p quest:budget=4096 -p twilight:p=0.95 -p retroinfer -p double_p:p1=0.95,p2=0.70 \
      -p "$best,share=0.04" -p "$best,share=0.04,kv_dtype=fp8" \
      --json "$out/mixed.json" > "$out/mixed.txt" 2>&1
  check $? "a batch of different lengths, see mixed.txt"
  sed -n '/^one batch/,$p' "$out/mixed.txt" | cut -c1-150
}

to_error() {
  if "$program" bench "${traces[@]}" -p "$to_error,error=0.05" --dry-run > "$out/to_error.txt" 2>&1; then
    # Factors are learnt on the CPU, once a setting and length: where time goes, and why there are few of them.
    timeout -k 5 180 "$program" bench "${traces[@]}" -c 131072 -b 1 8 -p dense -p "$best,share=0.04" -p "$to_error,error=0.05" \
        -p "$to_error,error=0.1" --json "$out/to_error.json" > "$out/to_error.txt" 2>&1
    check $? "selections that end at an error, see to_error.txt"
    grep -E "^double_p" "$out/to_error.txt" | cut -c1-190
  elif grep -q "prompt's last queries" "$out/to_error.txt"; then
    echo "SKIPPED: $(tail -1 "$out/to_error.txt")"
  else
    check 1 "selections that end at an error, see to_error.txt"
  fi
}

profile_one() {  # batch, kernels, launches before, launches, policy
  timeout -k 5 60 ncu --clock-control none --kernel-name "regex:$2" --launch-skip "$3" --launch-count "$4" --metrics "$metrics" \
      "$program" bench "${traces[@]}" -p "$5" -c 131072 -b "$1" --no-stages --repeats 1 --queries 1 > "$out/profile.one" 2>&1
  check $? "a profile of $5 at batch $1, see profile.txt"
  { echo "== $5, 131072 tokens, batch $1"; cat "$out/profile.one"; } >> "$out/profile.txt"
}

profile() {
  metrics=gpu__time_duration.sum,dram__bytes_read.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed
  metrics+=,launch__registers_per_thread,sm__warps_active.avg.per_cycle_active,smsp__inst_executed.sum
  metrics+=,smsp__issue_active.avg.pct_of_peak_sustained_active,sm__inst_executed_pipe_alu.avg.pct_of_peak_sustained_active
  for reason in long_scoreboard short_scoreboard barrier membar wait no_instruction imc_miss math_pipe_throttle not_selected; do
    metrics+=,smsp__average_warps_issue_stalled_${reason}_per_issue_active.ratio
  done
  if command -v ncu > /dev/null; then
    rm -f "$out/profile.txt"
    profile_one 1 bulk_attend 2 1 dense
    profile_one 1 bulk_attend 2 1 dense:kv_dtype=fp8
    for batch in 1 8; do profile_one $batch "estimate|ranked|attend_kernel" 6 3 "$best,share=0.04"; done
    rm -f "$out/profile.one"
    for kernel in bulk_attend estimate ranked attend_kernel; do  # bulk copies: from sm_90 on
      grep -q "$kernel" "$out/profile.txt" || [ "$arch" -lt 90 ] || check 1 "the profile has no $kernel, see profile.txt"
    done
    grep -E "^==|gpu__time_duration|^ +[a-z_:<>]+.*Context|pct_of_peak_sustained_elapsed" "$out/profile.txt" | cut -c1-130
  else
    echo "SKIPPED: no ncu (Nsight Compute) here"
  fi
}

pytorch() {
  python3 "$root/experiments/bench/sdpa.py" ${SDPA_ARGS:-} --json "$out/sdpa.json" > "$out/sdpa.txt" 2>&1
  check $? "PyTorch, see sdpa.txt"
  cat "$out/sdpa.txt"
}

shapes() {
  rm -f "$out/shapes.txt"
  while read -r dim heads kv; do
    trace=$out/synthetic-$dim-$heads-$kv.h5
    "$program" synth -o "$trace" --tokens 65536 --layers 1 --steps 16 --query-heads "$heads" \
        --kv-heads "$kv" --head-dim "$dim" > "$out/synth.log" 2>&1 &&
      "$program" bench "$trace" --kv-heads "$kv" -c 65536 -b 1 8 -p dense -p retroinfer \
          -p twilight:p=0.95 -p double_p:p1=0.95,p2=0.70 \
          -p double_p:p1=0.95,p2=0.70,estimator=second_order,gqa=group_sum \
          --json "$out/shape-$dim-$heads-$kv.json" >> "$out/shapes.txt" 2>&1
    check $? "head_dim $dim, $heads query heads, $kv KV heads, see shapes.txt"
    rm -f "$trace"
  done << SHAPES
128 32 8
64 32 8
80 32 8
256 16 8
128 8 8
128 64 8
SHAPES
  grep -E "^(shape|dense|double_p:p1=0.95,p2=0.70 )" "$out/shapes.txt" | cut -c1-160
}

whole_steps() {  # suffix of the files' names, traces...
  timeout -k 5 120 "$end_to_end" "${@:2}" "${models[@]}" --layers 2 --distinct 2 -c 16384 -b 1 4 --repeats 5 \
      --check --max-seconds 60 --json "$out/probe$1.json" > "$out/probe$1.txt" 2>&1
  check $? "the graph of all layers against its launches, see probe$1.txt"
  timeout -k 5 150 "$end_to_end" "${@:2}" "${models[@]}" --max-seconds "${E2E_SECONDS:-100}" --json "$out/e2e$1.json" > "$out/e2e$1.txt" 2>&1
  check $? "decode steps, see e2e$1.txt"
  tail -3 "$out/e2e$1.txt"
}

whole() {
  if [ -n "$end_to_end" ]; then
    whole_steps "" "${traces[@]}"
    [ ${#other_model[@]} -eq 0 ] || whole_steps -other "${other_model[@]}"
  else
    echo "SKIPPED: doublep_e2e was not built; it needs cuBLAS"
  fi
}

declare -A titles=(
  [parity]="parity, and the Python package beside it" [sanitizers]="compute-sanitizer"
  [backends]="the same sweep on both backends" [bench]="bench" [recorded]="recorded caches at their own length" [mixed]="a batch of different lengths"
  [to_error]="selections that end at an error" [profile]="a profile" [pytorch]="PyTorch"
  [shapes]="other shapes, on synthetic heads" [whole]="a decode step of all layers")
for name in $steps; do
  step "${titles[$name]}"
  "$name"
done
step "done, failed=$failed"
exit $failed
