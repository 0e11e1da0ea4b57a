"""WriteOptions: options of a conversion that every model writer receives."""

from __future__ import annotations

from dataclasses import dataclass

from edgesw.formats.activation_quantization import ActivationQuantization


@dataclass(frozen=True)
class WriteOptions:
    """What a model writer needs to know besides the decoder and the target's own options."""

    context: int
    """How many tokens the caches hold at most."""
    name: str
    """The model's name."""
    residual_max: float = 0.0
    """The largest magnitude measured in the residual stream, for formats that compute in float16."""
    bos_id: int | None = None
    """The token that begins a text."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end a text or a turn."""
    activations: ActivationQuantization | None = None
    """How the inputs of the layers' matrices are quantized to 8 bits; None: as the runtime's kernels do by default."""
