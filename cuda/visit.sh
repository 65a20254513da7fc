#!/usr/bin/env bash
# Everything that needs a GPU, in one go and under ten minutes: build, parity, compute-sanitizer, bench,
# PyTorch's attention right after. Usage: cuda/visit.sh [trace.h5 ...]; results go to $OUT_DIR.
set -u -o pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=$(realpath -m "${OUT_DIR:-$PWD/visit-out}")
build=${BUILD_DIR:-$root/build/visit}
arch=${DOUBLEP_CUDA_ARCHITECTURES:-90}
traces=("$@")
[ ${#traces[@]} -gt 0 ] || traces=("$root/data/needle-4k.h5")
mkdir -p "$out"
failed=0
step() { echo "== $1 ($SECONDS s)"; }
check() { if [ "$1" -ne 0 ]; then echo "FAILED: $2 (exit code $1)"; failed=1; fi; }

step "build for sm_$arch"
{ cmake -S "$root" -B "$build" -G Ninja -DDOUBLEP_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=90 \
    -DDOUBLEP_CUDA_ARCHITECTURES="$arch" -DDOUBLEP_BENCHMARKS=OFF &&
  ninja -C "$build" doublep doublep_device doublep_test_parity; } > "$out/build.log" 2>&1
check $? "build, see build.log"
program=$(find "$build" -type f -name doublep -perm -u+x | head -1)
parity=$(find "$build" -type f -name doublep_test_parity | head -1)
{ echo "commit   ${COMMIT:-$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)}"
  echo "date     $(date -u +%FT%TZ)"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  nvcc --version | tail -1
  "$(find "$build" -type f -name doublep_device | head -1)"; } | tee "$out/device.txt"

step "parity"
DOUBLEP_TRACES=$(IFS=:; echo "${traces[*]}") "$parity" > "$out/parity.txt" 2>&1
check $? "parity, see parity.txt"
tail -3 "$out/parity.txt"

step "compute-sanitizer"
tools="memcheck racecheck initcheck"
for tool in $tools; do  # side by side: most of their time is the CPU's
  ( timeout 200 compute-sanitizer --tool $tool --error-exitcode 9 --print-limit 20 \
      "$parity" "[quick]" > "$out/$tool.txt" 2>&1; echo $? > "$out/$tool.rc" ) &
done
wait
for tool in $tools; do
  check "$(cat "$out/$tool.rc")" "$tool, see $tool.txt"
  rm -f "$out/$tool.rc"
  echo "$tool: $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$out/$tool.txt" | tail -1)"
done

step "the same sweep on both backends"
rm -rf "$out/both.h5" "$out/both.h5.parts"
"$program" run "$root/cuda/both_backends.yaml" -o "$out/both.h5" > "$out/sweep.txt" 2>&1
check $? "sweep, see sweep.txt"
tail -1 "$out/sweep.txt"
python=${PYTHON:-/usr/bin/python3}
if "$python" -c "import h5py, numpy" 2> /dev/null; then
  (cd "$root" && "$python" -m analysis.backends "$out/both.h5") > "$out/backends.txt" 2>&1
  check $? "both backends agree, see backends.txt"
  tail -1 "$out/backends.txt"
else
  echo "SKIPPED: $python has no h5py here; elsewhere: python3 -m analysis.backends both.h5"
fi

step "bench"
"$program" bench "${traces[@]}" ${BENCH_ARGS:-} --json "$out/bench.json" > "$out/bench.txt" 2>&1
check $? "bench, see bench.txt"
grep -E "^(device|ceiling|dense|double_p:p1=0.95,p2=0.70 )" "$out/bench.txt" | cut -c1-160

step "PyTorch"
python3 "$root/experiments/bench/sdpa.py" ${SDPA_ARGS:-} --json "$out/sdpa.json" > "$out/sdpa.txt" 2>&1
check $? "PyTorch, see sdpa.txt"
cat "$out/sdpa.txt"
step "done, failed=$failed"
exit $failed
