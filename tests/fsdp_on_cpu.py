"""train.py under FSDP2 without a GPU: `accelerate launch --config_file training/launch/fsdp.yaml tests/fsdp_on_cpu.py`.

accelerate shards weights over kinds of devices that it lists, and CPUs are not among them: it would train with DDP and
say nothing. PyTorch's own FSDP2 runs on CPUs, so here they pass for a kind on that list. All else is as on GPUs.
"""

import os
import sys
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import DistributedType

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from train import main

if __name__ == "__main__":
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_XPU)
    sys.exit(main([*sys.argv[1:], "--use_cpu", "False"]))
