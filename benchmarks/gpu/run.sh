#!/usr/bin/env bash
# Everything that a GPU should measure, in order of worth, in at most eight minutes on an H100.
#   bash benchmarks/gpu/prepare.sh                      # once, where the internet is: wheels and clips
#   bash benchmarks/gpu/run.sh --out results            # on the GPU: all parts; again, and it goes on with what is missing
#   bash benchmarks/gpu/run.sh --out results fits fast  # these parts
#   bash benchmarks/gpu/run.sh --out /tmp/x --rehearse  # on a CPU, at toy size
# Each part writes gpu_PART.json as it goes. PYTHON names the interpreter (default: python3).
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
here=benchmarks/gpu
wheels=("$here"/baggage/wheels/*.whl)
if [[ " $* " != *" --rehearse "* && -e ${wheels[0]} ]]; then
  site=$(mktemp -d)
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "${wheels[@]}"
  export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONPATH=$PWD:$PWD/benchmarks:$PWD/$here${PYTHONPATH:+:$PYTHONPATH}
exec "$python" "$here/run.py" "$@"
