#!/usr/bin/env bash
# Runs the fuzzers of tests/fuzz, one after the other, and says what they found.
#   bash tests/fuzz/run.sh [SECONDS [READER...]]     default: 600, all readers
# Builds the preset fuzz (clang). Inputs stay in build/fuzz/corpus, so a later run goes on from
# them; findings in build/fuzz/findings, each with its report. A crash whose innermost frame is in
# libhdf5 is counted apart: the readers' probe fences those off. Exit code 1: a finding of ours.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-600}
readers=("${@:2}")
[ ${#readers[@]} -gt 0 ] || readers=(trace npy safetensors sweep result baseline profile measured)
cmake --preset fuzz >/dev/null && cmake --build --preset fuzz >/dev/null
build=$PWD/build/fuzz
"$build/tests/doublep_fuzz_seeds" "$build/seeds"
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:handle_abort=1 UBSAN_OPTIONS=print_stacktrace=1

# The innermost frame of a report that is neither the sanitizers' nor the C library's.
culprit() {
  grep -E '^ +#[0-9]+ 0x' "$1" |
    grep -vE '__asan|__interceptor|__sanitizer|__ubsan|fuzzer::|lib(c|m|stdc\+\+|pthread)[.-]|/llvm|std::|raise|abort' |
    head -1 | sed -E 's/^ +#[0-9]+ 0x[0-9a-f]+ //'
}

ours=0
for reader in "${readers[@]}"; do
  found=$build/findings/$reader
  mkdir -p "$build/corpus/$reader" "$found"
  "$build/tests/doublep_fuzz_$reader" -fork=1 -ignore_crashes=1 -ignore_timeouts=1 -ignore_ooms=1 \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 -max_len=65536 \
    -artifact_prefix="$found/" "$build/corpus/$reader" "$build/seeds/$reader" \
    >"$build/findings/$reader.log" 2>&1 || true
  mine=0 theirs=0
  for input in "$found"/{crash,timeout,oom}-*; do
    [[ -f $input && $input != *.report ]] || continue
    "$build/tests/doublep_fuzz_$reader" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 "$input" >"$input.report" 2>&1 || true
    frame=$(culprit "$input.report" || true)
    if [[ $frame == *libhdf5* ]]; then
      theirs=$((theirs + 1))
    else
      mine=$((mine + 1))
      echo "$reader: $input: ${frame:-no frame; see the report}"
    fi
  done
  echo "$reader: $(grep -oE '^#[0-9]+' "$build/findings/$reader.log" | tail -1 | tr -d '#') inputs," \
    "$mine findings, $theirs in libhdf5"
  ours=$((ours + mine))
done
[ "$ours" -eq 0 ]
