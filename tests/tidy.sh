#!/usr/bin/env bash
# clang-tidy over core, sim and experiments by the checks of .clang-tidy; every finding is an error.
#   bash tests/tidy.sh [FILE...]     default: every .cpp of the three rooms that the build compiles
set -euo pipefail
cd "$(dirname "$0")/.."
bash experiments/install.sh clang clang-tidy
cmake -S . -B build/tidy -G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ -DDOUBLEP_CUDA=OFF \
  -DDOUBLEP_TESTS=OFF -DDOUBLEP_BENCHMARKS=OFF -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON >/dev/null
cmake --build build/tidy --target doublep_build_info >/dev/null
files=("$@")
if [ ${#files[@]} -eq 0 ]; then
  mapfile -t files < <(git ls-files 'core/*.cpp' 'sim/*.cpp' 'experiments/*.cpp' |
    while read -r file; do grep -qF "\"file\": \"$PWD/$file\"" build/tidy/compile_commands.json && echo "$file"; done)
fi
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 4 clang-tidy -p build/tidy --quiet --warnings-as-errors='*'
echo "clang-tidy: ${#files[@]} files without a finding"
