"""SmolLM3: some layers have no position embedding."""

from __future__ import annotations

from typing import Any

from edgesw.families.config import Config
from edgesw.families.family import Family
from edgesw.families.shared import LLAMA_TENSORS
from edgesw.families.switches import biased


def _smollm3(config: Config) -> dict[str, Any]:
    """Layers without RoPE are those with a 0 in `no_rope_layers`."""
    rotated = config.layer_list("no_rope_layers", config.layers()) or ()
    return {"biased": biased(config), "layer_rotary": tuple(0 if rotates else None for rotates in rotated)}


SMOLLM3 = Family(
    name="smollm3",
    architecture="SmolLM3ForCausalLM",
    model_type="smollm3",
    gguf="smollm3",
    tensors=LLAMA_TENSORS,
    switches=_smollm3,
)
