#!/usr/bin/env bash
# Makes benchmarks/gpu/baggage/: all that run.sh needs on a machine without internet, in Python 3.12 with torch for CUDA 13.
#   bash benchmarks/gpu/prepare.sh      # where this repository's .venv is; a minute, 20 MB
# Wheels that are missing there (bitsandbytes without the libraries of other CUDA versions), twenty clips as the model
# looks at them with their captions from this CPU, and how fast this machine decodes. PyAV is too large to travel.
set -euo pipefail
cd "$(dirname "$0")/../.."
baggage=benchmarks/gpu/baggage
most_mib=50
mkdir -p "$baggage/wheels"

wheel() { # name==version: the newest wheel for Python 3.12 that an older system can load
  local platforms=() glibc
  for glibc in 28 24 17; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
  .venv/bin/pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    "${platforms[@]}" --platform manylinux2014_x86_64 -d "$baggage/wheels" "$1"
}

version() { .venv/bin/python -c "from importlib.metadata import version; print(version('$1'))"; }

rm -f "$baggage"/wheels/*.whl
wheel "transformers==$(version transformers)"
wheel "bitsandbytes==$(version bitsandbytes)"
.venv/bin/python - "$baggage"/wheels/bitsandbytes-*.whl <<'P'
"""Keep bitsandbytes' libraries for the CPU and for CUDA 13.0 alone: 43 MB become 2."""
import re, sys, zipfile
from pathlib import Path

path = Path(sys.argv[1])
whole = zipfile.ZipFile(path)
small = path.with_suffix(".small")
with zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
    for item in whole.infolist():
        if not re.search(r"libbitsandbytes_(?!cpu|cuda130)", item.filename):
            out.writestr(item, whole.read(item), zipfile.ZIP_DEFLATED)
small.replace(path)
P
PYTHONPATH=.:benchmarks .venv/bin/python benchmarks/gpu/baggage.py

used=$(du -cm "$baggage" $(git ls-files) | tail -n 1 | cut -f 1)
echo "what travels: $used MiB of $most_mib"
[ "$used" -lt "$most_mib" ]
