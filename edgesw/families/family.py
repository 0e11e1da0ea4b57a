"""Family: the declarative entry of a model family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgesw.decoder.spec import DecoderSpec
from edgesw.families.config import Config
from edgesw.families.llama_spec import llama_spec

GgufValue = Callable[[str], Any]
"""Returns a GGUF file's metadata value for a key without its "<architecture>." prefix; None for a missing key."""


@dataclass(frozen=True)
class Stored:
    """Where the two file formats store a tensor. `{layer}` in a name is replaced by the layer's number."""

    hf: str
    gguf: str
    gguf_interleaved: bool = False
    """Whether GGUF rows alternate between the two RoPE halves of each head; reading restores Hugging Face's order."""
    fused: tuple[str, ...] = ()
    """The matrices whose rows the file stores, one after the other, as a single tensor; this one is among them."""
    hf_shift: float = 0.0
    """Added to the values that Hugging Face stores: Gemma's norms multiply by 1 + weight."""


@dataclass(frozen=True)
class Family:
    """A family of decoders: how its config maps to a DecoderSpec and what its tensors are called."""

    name: str
    architecture: str
    """transformers' name of it, as in a config.json's `architectures`."""
    model_type: str
    """transformers' name of its configuration class."""
    gguf: str | None
    """`general.architecture` of its GGUF files; None where another family reads them."""
    tensors: Mapping[str, Stored]
    """Canonical name -> where it is stored. Tensors that a DecoderSpec has no place for are ignored."""
    switches: Callable[[Config], dict[str, Any]] = lambda config: {}
    """Returns the fields of DecoderSpec in which a config of this family differs from a plain Llama."""
    partial_rotary: bool = False
    """Whether `partial_rotary_factor` is read: transformers' model class rotates only part of each head."""
    gguf_settings: Callable[[dict[str, Any], GgufValue], dict[str, Any]] = lambda config, value: {}
    """Returns further config.json keys for a GGUF file, given those read from every GGUF file and its metadata: what
    llama.cpp knows from the architecture's name alone."""
    ignored: tuple[str, ...] = ()
    """Suffixes of tensor names that a file may contain and that a decoder does not need."""

    def has_architecture(self, name: str) -> bool:
        """Whether a name in `architectures` is this family's decoder, with its head or without; case does not matter,
        as in checkpoints of the first Llama."""
        ours = self.architecture.lower()
        base = ours.removesuffix("forcausallm")
        return name.lower() in (ours, f"{base}model", f"{base}textmodel")

    def decoder_spec(self, config: Mapping[str, Any], where: str) -> DecoderSpec:
        """The decoder that a config describes whose defaults are filled in; `where` names its file in errors.

        Raises CheckpointError for a value that is missing or senseless, UnsupportedError for a setting that edgesw
        does not implement.
        """
        read = Config(where, config)
        return llama_spec(read, self.name, self.switches(read))
