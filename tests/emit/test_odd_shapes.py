"""Sizes that are no multiple of a block, odd, or both: each target writes them in a form that runs, or refuses them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import assert_one_line, edgesw, save_llama, unchanged, unrounded
from tiny_families import save

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.plan import make_plan
from edgesw.formats.activation_quantization import STATIC, ActivationQuantization
from edgesw.formats.write_options import WriteOptions
from edgesw.runtime.torch import FloatLogits
from edgesw.targets.coreml import CoreMLOptions
from edgesw.targets.onnx import OnnxOptions
from edgesw.targets.registry import TARGETS

CONTEXT = 64
IDS = np.random.default_rng(5).integers(0, 96, 7)
SHAPES: dict[str, dict[str, Any]] = {
    "hidden 80, tied": {"hidden_size": 80, "num_attention_heads": 5, "num_key_value_heads": 1,
                        "tie_word_embeddings": True},
    "everything odd": {"hidden_size": 45, "intermediate_size": 77, "vocab_size": 99, "head_dim": 16,
                       "num_attention_heads": 3, "num_key_value_heads": 1},
    "less than a block": {"hidden_size": 7, "intermediate_size": 5, "vocab_size": 97, "head_dim": 16,
                          "num_attention_heads": 7, "num_key_value_heads": 7, "tie_word_embeddings": True},
}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """One way in which a target stores and lays out a model, and how near its logits must be, relative to the
    largest."""

    target: str
    asked: Any
    plan: dict[str, Any]
    tolerance: float
    activations: str | None = None

    def __str__(self) -> str:
        asked = " ".join(f"{key}={value}" for key, value in vars(self.asked).items() if value not in (False, None, 1))
        plan = " ".join(f"{key}={value}" for key, value in self.plan.items())
        return " ".join(filter(None, (self.target, asked, plan, self.activations)))


# onnxruntime quantizes the inputs of portable models to 8 bits by itself. The 8-bit ranges here are not measured.
EXACT, HALF, ROUNDED, QUANTIZED = 1e-3, 0.02, 0.15, 0.4
FORMS = [
    Form("onnx", OnnxOptions(), {"bits": 4}, EXACT),
    Form("onnx", OnnxOptions(), {"bits": 8, "embedding_bits": 4}, EXACT),
    Form("onnx", OnnxOptions(), {"bits": 4, "group": 128}, EXACT),
    Form("onnx", OnnxOptions(), {"bits": 8}, QUANTIZED, "per-token"),
    Form("onnx", OnnxOptions(portable=True), {"bits": 4}, ROUNDED),
    Form("onnx", OnnxOptions(portable=True), {"bits": 4, "embedding_bits": 4, "group": 16}, ROUNDED),
    Form("coreml", CoreMLOptions(), {"bits": 4}, HALF),
    Form("coreml", CoreMLOptions(), {"bits": 3}, HALF),
    Form("coreml", CoreMLOptions(chunks=2), {"bits": 2, "cluster_dim": 4}, HALF),
    Form("coreml", CoreMLOptions("ane", (1, 4)), {"bits": 4, "embedding_bits": 6}, HALF),
    Form("coreml", CoreMLOptions(), {"bits": 8}, QUANTIZED, STATIC),
]


@pytest.fixture(scope="module", params=SHAPES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("odd")
    save("llama", folder, **SHAPES[request.param])
    return open_checkpoint(str(folder))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_package_of_any_size_computes_what_was_compressed(form: Form, checkpoint: Checkpoint, tmp_path: Path) -> None:
    """The last block of a row is padded: what a reader does with the padding must not reach the logits, and in a
    hidden size of 80 it made a model that onnxruntime could not load. Last columns are held out, beside the padding."""
    target, spec = TARGETS[form.target], checkpoint.spec
    options = target.resolve(form.asked, CONTEXT)
    plan = make_plan(spec, target.capabilities(options, form.activations is not None), **form.plan)
    columns = {name: (0, spec.matrix_shape(name)[1] - 1) for name in spec.matrices()}
    weights = CompressedDecoder(checkpoint, plan, None, HoldOut(columns, fraction=0 if form.activations else 0.01))
    expected = next(iter(FloatLogits(spec, weights, IDS[None])))
    activations = None
    if form.activations:
        ranges = dict.fromkeys(spec.matrices(), (-8.0, 8.0)) if form.activations == STATIC else {}
        activations = ActivationQuantization(form.activations, ranges)
    path = tmp_path / target.path(options)
    target.write(weights, spec, options, WriteOptions(CONTEXT, "odd", activations=activations), path)
    decoder = target.open(unrounded(path) if form.target == "onnx" else path, CONTEXT)
    logits = np.concatenate([decoder.step(IDS[at:to]) for at, to in ((0, 4), (4, 5), (5, 7))])
    assert logits.shape == expected.shape
    assert np.abs(logits - expected).max() < form.tolerance * max(1, np.abs(expected).max())


def test_heads_that_the_runtime_does_not_take_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    """onnxruntime's attention rotates heads of 16 channels: saying so after an hour of compression is too late."""
    model = tmp_path / "model"
    save_llama(model, steps=0, head_dim=20)
    with unchanged(tmp_path):
        ran = edgesw("convert", model, "--target", "onnx", "-o", tmp_path / "package")
        assert_one_line(ran, 2, "20 channels", "--portable")
    spec = replace(open_checkpoint(str(model)).spec, head_dim=20)
    assert make_plan(spec, TARGETS["onnx"].capabilities(OnnxOptions(portable=True)))
