"""What an entry of the registry of families is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgesw.decoder.spec import DecoderSpec
from edgesw.families.config import Config

GgufValue = Callable[[str], Any]
"""The metadata of a GGUF by key, without "<architecture>." before it; None where there is none."""


@dataclass(frozen=True)
class Stored:
    """Where a tensor is kept. `{layer}` in a name stands for the layer's number."""

    hf: str
    gguf: str
    gguf_interleaved: bool = False
    """GGUF rows alternate between the two rotary halves of each head; they are put back as Hugging Face has them."""
    fused: tuple[str, ...] = ()
    """The file's tensor is made of the rows of these matrices, one after the other, and ours is among them."""
    hf_less: float = 0.0
    """Hugging Face stores the values less this."""


@dataclass(frozen=True)
class Family:
    """One family of decoders."""

    name: str
    architectures: tuple[str, ...]
    """What `architectures` in config.json may say; the first is written for a GGUF."""
    model_type: str
    gguf: str | None
    """`general.architecture` of GGUF files, None where another family reads them."""
    spec: Callable[[Config], DecoderSpec]
    tensors: Mapping[str, Stored]
    """Canonical name -> where it is kept. Tensors that the DecoderSpec has no place for are left out."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What transformers takes for keys that config.json leaves out."""
    gguf_settings: Callable[[dict[str, Any], GgufValue], dict[str, Any]] = lambda config, value: {}
    """Keys of config.json to set beside those that every GGUF is read for, from what is read and the file's metadata:
    what llama.cpp knows by the architecture's name alone."""
    ignored: tuple[str, ...] = ()
    """Ends of the names of tensors that a file may hold and nobody needs."""
