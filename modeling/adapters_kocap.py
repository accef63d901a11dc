"""What transformers leaves out when it loads an adapter itself."""

from torch import nn
from transformers.utils import is_peft_available

from .revisions_kocap import hub_arguments

MAGNITUDE = ".lora_magnitude_vector"


def load_magnitudes(model: nn.Module, adapter: str, adapter_name: str, adapter_kwargs: dict) -> set[str]:
    """Copy DoRA's magnitudes from an adapter's file into a model that has the adapter's layers.

    Args:
        adapter: Folder or Hub id.
        adapter_kwargs: What `from_pretrained` uses to download it.
    Returns:
        Names of the parameters that were set.
    """
    hub = hub_arguments(adapter_kwargs, "revision", "subfolder")
    loaded = set()
    if is_peft_available():  # importing it takes seconds, and few checkpoints are adapters
        from peft.utils.save_and_load import load_peft_weights

        for key, value in load_peft_weights(adapter, device="cpu", **hub).items():
            if key.endswith(MAGNITUDE):
                name = f"{key.removeprefix('base_model.model.')}.{adapter_name}.weight"
                model.get_parameter(name).data.copy_(value)
                loaded.add(name)
    return loaded
