#!/usr/bin/env bash
# Installs the library of a build to a folder of its own, then configures, builds and runs another
# project against it:   bash tests/consumer/run.sh build/release
set -euo pipefail
build=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
cached() { sed -n "s/^$1:[^=]*=//p" "$build/CMakeCache.txt"; }
compiler=$(cached CMAKE_CXX_COMPILER)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$here" "$work/source"  # nothing beside it to be found by accident
cmake --install "$build" --component library --prefix "$work/prefix"
cmake -S "$work/source" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_CXX_COMPILER="$compiler" \
  -DWITH_HDF5="$(cached DOUBLEP_HDF5)"
cmake --build "$work/build"
"$work/build/consumer"
[ "$(cached DOUBLEP_HDF5)" = OFF ] || "$work/build/traces" "$(dirname "$here")/data/needle-4k.h5"
