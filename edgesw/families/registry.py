"""The registry of model families: every family edgesw knows, looked up by architecture."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from edgesw.errors import UsageError
from edgesw.families.family import Family
from edgesw.families.gemma import GEMMA2, GEMMA3
from edgesw.families.llama import LLAMA
from edgesw.families.mistral import MISTRAL
from edgesw.families.olmo import OLMO, OLMO2
from edgesw.families.phi import PHI3
from edgesw.families.qwen import QWEN2, QWEN3
from edgesw.families.smollm import SMOLLM3

FAMILIES: tuple[Family, ...] = (LLAMA, MISTRAL, SMOLLM3, QWEN2, QWEN3, PHI3, OLMO, OLMO2, GEMMA2, GEMMA3)


def family_of(config: Mapping[str, Any], where: str) -> Family:
    """The family of a config.json: by `model_type`, as transformers chooses, or by `architectures` where it has none.

    UsageError lists the supported ones for an unknown one, or says that the two contradict each other.
    """
    named = config.get("architectures")
    named = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    kind = config.get("model_type")
    found = next((family for family in FAMILIES if family.model_type == kind), None)
    if found is not None and named and not any(map(found.has_architecture, named)):
        raise UsageError(
            f"{where}: 'architectures' is {', '.join(named)} and 'model_type' is '{kind}': not the same "
            f"model. '{kind}' would be {found.architecture}: use the original files."
        )
    if found is None and kind is None:
        found = next((family for family in FAMILIES if any(map(family.has_architecture, named))), None)
    if found is not None:
        return found
    known = ", ".join(f"{family.architecture} ('{family.model_type}')" for family in FAMILIES)
    problem = f"architecture {', '.join(named)} is not supported" if named else "it does not state 'architectures'"
    problem += f" ('model_type' is {reprlib.repr(kind)})" if kind is not None else " or 'model_type'" * (not named)
    raise UsageError(f"{where}: {problem}. Supported: {known}.")


def family_of_gguf(architecture: object, where: str) -> Family:
    """The family of a GGUF file. UsageError lists the supported architectures for an unknown one."""
    for family in FAMILIES:
        if family.gguf is not None and family.gguf == architecture:
            return family
    known = ", ".join(family.gguf for family in FAMILIES if family.gguf)
    raise UsageError(f"{where}: GGUF architecture '{architecture}' is not supported. Supported: {known}.")
