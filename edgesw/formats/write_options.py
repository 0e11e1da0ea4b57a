"""WriteOptions: what a writer of models is told beside the decoder itself."""

from __future__ import annotations

from dataclasses import dataclass

from edgesw.formats.activation_quantization import ActivationQuantization
from edgesw.formats.coreml_layout import FLEXIBLE, CoreMLLayout


@dataclass(frozen=True)
class WriteOptions:
    context: int
    """Most tokens that the caches hold."""
    name: str
    """What the model is called."""
    residual_max: float = 0.0
    """The largest magnitude seen in the residual stream, for formats that compute in float16."""
    form: CoreMLLayout = FLEXIBLE
    bos_id: int | None = None
    """The token that begins a text, for runtimes that want to know."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end a text or a turn."""
    portable: bool = False
    """ONNX: operators of the standard alone."""
    rounding: ActivationQuantization | None = None
    """How the inputs of the layers' matrices are rounded to 8 bits; None: as the runtime's kernels like it."""
