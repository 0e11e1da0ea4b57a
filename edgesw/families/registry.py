"""The registry of model families: every family edgesw knows, looked up by architecture."""

from __future__ import annotations

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
    """The family of a config.json. UsageError lists the supported architectures for an unknown one."""
    named = config.get("architectures")
    named = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    for family in FAMILIES:
        if set(named) & set(family.architectures):
            return family
    known = ", ".join(name for family in FAMILIES for name in family.architectures)
    problem = f"architecture {', '.join(named)} is not supported" if named else "it does not state 'architectures'"
    raise UsageError(f"{where}: {problem}. Supported: {known}.")


def family_of_gguf(architecture: object, where: str) -> Family:
    """The family of a GGUF file. UsageError lists the supported architectures for an unknown one."""
    for family in FAMILIES:
        if family.gguf is not None and family.gguf == architecture:
            return family
    known = ", ".join(family.gguf for family in FAMILIES if family.gguf)
    raise UsageError(f"{where}: GGUF architecture '{architecture}' is not supported. Supported: {known}.")
