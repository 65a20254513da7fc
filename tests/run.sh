#!/usr/bin/env bash
# All tests, from a fresh machine: installs, builds the optimised program (CUDA where nvcc is found), and runs
# every room of tests and the Python ones. Ends with one line: N passed, N failed, N skipped.
#   bash tests/run.sh               by the compiler that CMake finds
#   bash tests/run.sh sanitized     the program with AddressSanitizer and UndefinedBehaviorSanitizer instead, and
#                                   the rooms that look for errors rather than for numbers
#   bash tests/run.sh full          both
#   bash tests/run.sh ci            as without a word, but by g++ and warnings are errors: what .ci/run calls
#   bash tests/run.sh ci-sanitized  the sanitizers by clang, warnings are errors
#   bash tests/run.sh ci-full       both of these
#   bash tests/run.sh ci-gcc        both by g++
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
optimised="" sanitized="" extra=()
case ${1:-} in
  "") optimised=release ;;
  sanitized) sanitized=debug ;;
  full) optimised=release sanitized=debug ;;
  ci) optimised=ci ;;
  ci-sanitized) sanitized=ci-clang ;;
  ci-full) optimised=ci sanitized=ci-clang ;;
  ci-gcc) optimised=ci sanitized=ci-debug ;;
  *) echo "tests/run.sh: expected sanitized, full, ci, ci-sanitized, ci-full or ci-gcc, not '$1'"; exit 2 ;;
esac
[ "$sanitized" = ci-clang ] && extra=(clang libclang-rt-dev)
optimised_rooms="units folder fidelity faults sim fuzz parity regression"
sanitized_rooms="units folder faults sim fuzz"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
passed=0 failed=0 skipped=0

bash experiments/install.sh ${extra[@]+"${extra[@]}"} || { echo "0 passed, 1 failed"; exit 1; }

# The Python package is a part of the build where pip can bring nanobind, which not every Debian packs: into an
# environment of the build, which finds the package there.
package=(-DDOUBLEP_PYTHON=OFF)
prepare_package() {  # preset
  local venv="$root/build/$1/venv" log="$logs/venv-$1" nanobind
  nanobind=$(grep -oE 'nanobind[^"]*' pyproject.toml | head -1)
  if ! { "${PYTHON:-/usr/bin/python3}" -m venv --system-site-packages "$venv" &&
    "$venv/bin/pip" install --quiet --retries 1 "$nanobind"; } >"$log" 2>&1; then
    echo "SKIPPED: python package: pip could not install $nanobind: $(tail -n 1 "$log")"
    skipped=$((skipped + 1))
    return 1
  fi
  echo "$root/build/$1/python" >"$("$venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')/doublep.pth"
  package=(-DDOUBLEP_PYTHON=ON -DPython_EXECUTABLE="$venv/bin/python")
}

build() {  # preset, rooms of tests, cache entries...
  local start=$SECONDS
  if ! { cmake --preset "$1" -DDOUBLEP_TEST_ROOMS="${2// /;}" "${@:3}" && cmake --build --preset "$1"; } \
    >"$logs/build-$1" 2>&1; then
    grep -E "error|Error|FAILED" -A5 "$logs/build-$1" | head -60
    echo "the build of $1 failed"
    failed=$((failed + 1))
    return 1
  fi
  printf '%-78s %4d s\n' "$1 built" $((SECONDS - start))
}

# A program's output goes to a log, its exit code and seconds beside it.
run_logged() {  # log, program, arguments...
  local start=$SECONDS
  "${@:2}" >"$1" 2>&1
  echo "$? $((SECONDS - start))" >"$1.end"
}

# Counts by Catch2's closing line; a program that dies before it counts as one failure.
count_room() {  # preset, program, log
  local name="$1 $(basename "$2")" log=$3 code seconds good=0 bad=0
  read -r code seconds <"$log.end"
  if grep -qE "^All tests passed" "$log"; then
    good=$(sed -nE 's/^All tests passed \(.* in ([0-9]+) test cases?\).*/\1/p' "$log" | tail -1)
  elif grep -qE "^test cases:" "$log"; then
    good=$(sed -nE 's/^test cases:.*[| ]([0-9]+) passed.*/\1/p' "$log" | tail -1)
    bad=$(sed -nE 's/^test cases:.*[| ]([0-9]+) failed.*/\1/p' "$log" | tail -1)
  fi
  good=${good:-0} bad=${bad:-0}
  [ "$code" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
  local skips
  skips=$(grep -c "^SKIPPED:" "$log")
  grep "^SKIPPED:" "$log" | sort | uniq -c
  [ "$bad" -gt 0 ] && tail -n 80 "$log"
  good=$((good - skips))
  passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + skips))
  printf '%-45s %4d passed %3d failed %3d skipped %5d s\n' "$name" "$good" "$bad" "$skips" "$seconds"
}

python_log() { echo "$logs/python-$(basename "$1")"; }

# In the background: one core is enough for them, and what comes next has the other.
start_python() {  # folder of tests, interpreter
  run_logged "$(python_log "$1")" "$2" -m unittest discover -v -s "$1" &
}

count_python() {  # folder of tests
  local log code seconds total=0 bad=0 skips=0
  log=$(python_log "$1")
  read -r code seconds <"$log.end"
  [ "$code" -eq 0 ] || { bad=1; tail -n 60 "$log"; }
  total=$(sed -nE 's/^Ran ([0-9]+) tests?.*/\1/p' "$log" | tail -1)
  skips=$(sed -nE 's/.*skipped=([0-9]+).*/\1/p' "$log" | tail -1)
  grep -E "\.\.\. skipped" "$log"
  if [ "$bad" -eq 1 ]; then
    local counts
    counts=$(tail -1 "$log" | grep -oE "(failures|errors)=[0-9]+" | cut -d= -f2 | paste -sd+ | sed 's/^$/1/')
    bad=$((counts))
  fi
  total=${total:-0} skips=${skips:-0}
  [ "$total" -eq 0 ] && total=1 bad=1
  passed=$((passed + total - bad - skips)) failed=$((failed + bad)) skipped=$((skipped + skips))
  printf '%-45s %4d passed %3d failed %3d skipped %5d s\n' "python $(basename "$1")" $((total - bad - skips)) "$bad" "$skips" "$seconds"
}

# The library, installed and used by another project.
count_consumer() {  # preset
  local code seconds good=1
  read -r code seconds <"$logs/consumer.end"
  [ "$code" -eq 0 ] || { good=0; tail -n 40 "$logs/consumer"; }
  passed=$((passed + good)) failed=$((failed + 1 - good))
  printf '%-45s %4d passed %3d failed %3d skipped %5d s\n' "$1 installed library" "$good" $((1 - good)) 0 "$seconds"
}

# Two rooms at a time: most of their tests use one core.
rooms() {  # preset, its rooms, arguments for every room...
  local preset=$1 names=$2 room program running=()
  shift 2
  for room in $names; do
    program="$root/build/$preset/tests/doublep_test_$room"
    if [ -x "$program" ]; then
      [ ${#running[@]} -lt 2 ] || { wait "${running[0]}"; running=("${running[@]:1}"); }
      run_logged "$logs/$preset-$room" "$program" "$@" &
      running+=($!)
    elif [ "$room" != parity ]; then  # parity is built only where nvcc is found
      echo "$preset: no program for the tests in tests/$room"
      failed=$((failed + 1))
    fi
  done
  for program in ${running[@]+"${running[@]}"}; do wait "$program"; done
  for room in $names; do
    [ ! -e "$logs/$preset-$room.end" ] ||
      count_room "$preset" "doublep_test_$room" "$logs/$preset-$room"
  done
}

python=()
[ -z "$optimised" ] || prepare_package "$optimised"
if [ -n "$optimised" ] && build "$optimised" "$optimised_rooms" "${package[@]}"; then
  python=(tests/analysis tests/recorder tests/slurm)
  export DOUBLEP_PROGRAM="$root/build/$optimised/experiments/doublep"
  # What wants analysis/requirements.txt, MkDocs or a browser is skipped where PYTHON has it not (ci.yml's job `pages` has).
  start_python tests/analysis "${PYTHON:-/usr/bin/python3}"
  # The recorder's tests of models want data/requirements.txt, which nothing else does: name an
  # interpreter that has it, or they are skipped.
  start_python tests/recorder "${RECORDER_PYTHON:-${PYTHON:-/usr/bin/python3}}"
  start_python tests/slurm "${PYTHON:-/usr/bin/python3}"  # skipped, but with DOUBLEP_SLURM=1
  if [ "${package[0]}" = -DDOUBLEP_PYTHON=ON ]; then
    python+=(tests/python)
    start_python tests/python "build/$optimised/venv/bin/python"
  fi
  rooms "$optimised" "$optimised_rooms"
  run_logged "$logs/consumer" bash tests/consumer/run.sh "build/$optimised"
  count_consumer "$optimised"
fi
if [ -n "$sanitized" ] && build "$sanitized" "$sanitized_rooms"; then
  export UBSAN_OPTIONS=print_stacktrace=1
  rooms "$sanitized" "$sanitized_rooms" "~[heavy]"
fi
wait
for folder in ${python[@]+"${python[@]}"}; do count_python "$folder"; done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
