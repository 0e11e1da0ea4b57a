"""Qwen2, Qwen2.5 and Qwen3."""

from __future__ import annotations

from edgesw.families.config import Config
from edgesw.families.family import Family
from edgesw.families.shared import LLAMA_DEFAULTS, NORMS, OUTER, QK_NORMS, biased, matrices, windows


def _windows(config: Config) -> tuple[int | None, ...]:
    """Where `use_sliding_window` is set, the layers from `max_window_layers` on have a window."""
    if not config.flag("use_sliding_window", False):
        return (None,) * config.layers()
    first = config.size("max_window_layers", default=28)
    return windows(config, lambda layer: layer >= first)


_TENSORS = {**OUTER, **NORMS, **QK_NORMS, **matrices(interleaved=False)}
_DEFAULTS = {**LLAMA_DEFAULTS, "sliding_window": 4096, "bos_token_id": None, "eos_token_id": None}

QWEN2 = Family(
    name="qwen2",
    architectures=("Qwen2ForCausalLM",),
    model_type="qwen2",
    gguf="qwen2",
    tensors=_TENSORS,
    defaults=_DEFAULTS,
    switches=lambda config: {"biased": ("q_proj", "k_proj", "v_proj"), "layer_windows": _windows(config)},
)

QWEN3 = Family(
    name="qwen3",
    architectures=("Qwen3ForCausalLM",),
    model_type="qwen3",
    gguf="qwen3",
    tensors=_TENSORS,
    defaults={**_DEFAULTS, "head_dim": 128},
    switches=lambda config: {"biased": biased(config), "qk_norm": "head", "layer_windows": _windows(config)},
)
