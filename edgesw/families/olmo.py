"""OLMo and OLMo-2."""

from __future__ import annotations

from typing import Any

from edgesw.errors import UnsupportedError
from edgesw.families.config import Config
from edgesw.families.family import Family, GgufValue
from edgesw.families.shared import OUTER, OUTPUT_NORMS, QK_NORMS, matrices
from edgesw.families.switches import biased


def _olmo(config: Config) -> dict[str, Any]:
    """Layer norms without weights, and with an epsilon that no config states."""
    return {
        "norm": "layer",
        "norm_eps": 1e-5,
        "clip_qkv": config.optional_number("clip_qkv"),
        "biased": biased(config),
    }


def _refuse_olmo3(config: dict[str, Any], value: GgufValue) -> dict[str, Any]:
    """GGUF files of OLMo-3 call themselves olmo2; only they have a window."""
    if config.get("sliding_window"):
        raise UnsupportedError("an OLMo-2 with sliding windows (OLMo-3) is not supported: use another model.")
    return {}


OLMO = Family(
    name="olmo",
    architecture="OlmoForCausalLM",
    model_type="olmo",
    gguf="olmo",
    tensors={**OUTER, **matrices(interleaved=True)},
    switches=_olmo,
)

OLMO2 = Family(
    name="olmo2",
    architecture="Olmo2ForCausalLM",
    model_type="olmo2",
    gguf="olmo2",
    tensors={**OUTER, **QK_NORMS, **OUTPUT_NORMS, **matrices(interleaved=False)},
    switches=lambda config: {
        "norm_before": False,
        "norm_after": True,
        "qk_norm": "whole",
        "biased": biased(config),
    },
    gguf_settings=_refuse_olmo3,
)
