#!/usr/bin/env bash
# Records the zoo on a machine with a GPU that nothing can be fetched from, and that takes a limited
# number of bytes at a time: models travel in pieces.
#   here   bash data/record_zoo_gpu.sh split MODEL.gguf NAME DIR [MB]   pieces of 40 MB, and a sum
#   there  bash data/record_zoo_gpu.sh keep DIR       moves DIR's pieces and wheels to $ZOO; repeat
#   there  bash data/record_zoo_gpu.sh record NAME=TOKENS[,TOKENS...] ...     from the pieces kept
# NAME is one of zoo.py's. Run from the repository's root. ZOO (default /tmp/zoo) keeps the models
# and the traces; what was measured goes to OUT (default $ZOO) as rows.json and record.log, after
# every trace, so that an end by a time limit loses one. A built doublep (DOUBLEP, or the one found)
# validates and replays each. DEVICE=cpu DTYPE=float32 rehearses it.
set -euo pipefail
ZOO=${ZOO:-/tmp/zoo} OUT=${OUT:-${ZOO}}
PYTHON=${PYTHON:-python3}

split_model() {  # model, name, folder, MB
  mkdir -p "$3"
  split -b "${4:-40}M" -d -a 3 "$1" "$3/$2.gguf."
  (cd "$(dirname "$1")" && sha256sum "$(basename "$1")") | sed "s/ .*/  $2.gguf/" >"$3/$2.sha256"
  ls -l "$3"
}

keep() {  # folder
  mkdir -p "$ZOO/pieces"
  mv "$1"/* "$ZOO/pieces/"
  ls "$ZOO/pieces"
}

# The model as one file, checked.
assemble() {  # name
  local file="$ZOO/$1.gguf"
  if [ ! -e "$file" ]; then
    cat "$ZOO/pieces/$1.gguf."[0-9]* >"$file.partial"
    [ "$(sha256sum <"$file.partial" | cut -d' ' -f1)" = "$(cut -d' ' -f1 "$ZOO/pieces/$1.sha256")" ] ||
      { echo "$1: the pieces in $ZOO/pieces are not the whole model; keep the missing ones"; exit 2; }
    mv "$file.partial" "$file"
    rm "$ZOO/pieces/$1.gguf."[0-9]*
  fi
}

# gguf, where the machine's Python has none, from a wheel among the pieces.
python_parts() {
  export PYTHONPATH="$ZOO/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
  "$PYTHON" -c "import gguf" 2>/dev/null ||
    "$PYTHON" -m pip install -q --no-index --no-deps --find-links "$ZOO/pieces" --target "$ZOO/site" gguf
  "$PYTHON" -c "import accelerate, gguf, h5py, torch, transformers as t
print('PyTorch', torch.__version__, 'transformers', t.__version__, 'GPU', torch.cuda.is_available())"
}

record() {  # NAME=TOKENS,TOKENS ...
  local program device=${DEVICE:-cuda} pair tokens
  mkdir -p "$ZOO/traces" "$OUT"
  program=${DOUBLEP:-$(find build*/*/experiments -maxdepth 1 -name doublep -type f 2>/dev/null | head -1 || true)}
  python_parts
  for pair in "$@"; do
    assemble "${pair%%=*}"
    for tokens in $(echo "${pair#*=}" | tr , ' '); do
      "$PYTHON" data/zoo.py record "${pair%%=*}" "$ZOO/${pair%%=*}.gguf" --out "$ZOO/traces" \
        --tokens "$tokens" --seed 1 --device "$device" --dtype "${DTYPE:-bfloat16}" \
        ${program:+--doublep "$program"}
      "$PYTHON" -c "import glob, json, sys
json.dump([json.load(open(f)) for f in sorted(glob.glob(sys.argv[1]))], sys.stdout, indent=1)" \
        "$ZOO/traces/*.json" >"$OUT/rows.json"
    done
  done
}

case ${1:-} in
  split) split_model "${@:2}" ;;
  keep) keep "$2" ;;
  record) mkdir -p "$OUT"; record "${@:2}" 2>&1 | tee -a "$OUT/record.log" ;;
  *) sed -n '2,/^set/p' "$0" | grep '^#'; exit 2 ;;
esac
