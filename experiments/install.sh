#!/usr/bin/env bash
# Installs what doublep is built and plotted with, on Debian 12 or 13 or Ubuntu 24.04; asks for
# nothing where everything is there already. Further packages may be named after it.
set -euo pipefail
packages=(g++ cmake ninja-build git libeigen3-dev libhdf5-dev libcli11-dev libyaml-cpp-dev catch2
          libbenchmark-dev python3-numpy python3-h5py python3-matplotlib python3-markdown-it
          python3-dev python3-venv "$@")
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "installing: ${missing[*]}"
sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
