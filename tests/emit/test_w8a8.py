"""8-bit activations: a package must quantize the inputs of transformers' layers, except those of held-out columns."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from stored import with_matrices
from tiny import unrounded
from tiny_families import save

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.plan import make_plan
from edgesw.decoder.spec import DecoderSpec
from edgesw.formats.activation_quantization import ActivationQuantization, static_bounds
from edgesw.formats.coreml_layout import CoreMLLayout
from edgesw.formats.write_options import WriteOptions
from edgesw.runtime.arm_guest import session
from edgesw.runtime.onnx import OnnxDecoder
from edgesw.runtime.packaged_decoder import PackagedDecoder
from edgesw.targets.onnx import OnnxOptions
from edgesw.targets.registry import TARGETS

CONTEXT = 64
IDS = np.random.default_rng(5).integers(0, 96, 60)
KINDS = r"layers\.\d+\.(\w+_proj)"
Round = Callable[[torch.Tensor, str], torch.Tensor]


def between(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """DynamicQuantizeLinear's documented formula."""
    scale = (high.clamp_min(0) - low.clamp_max(0)) / 255
    zero = torch.round(-low.clamp_max(0) / scale)
    return ((torch.round(x / scale) + zero).clamp(0, 255) - zero) * scale


def about_zero(x: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    scale = (largest / 127).clamp_min(1e-20)  # a token's input may be all zero
    return torch.round(x / scale).clamp(-128, 127) * scale


class Model:
    """A model with columns held out of every matrix, computed by transformers and by packages."""

    def __init__(
        self, variant: str, folder: Path, target: str, layout: CoreMLLayout | None = None, portable: bool = False
    ) -> None:
        save(variant, folder)
        self.variant, self.folder, self.target = variant, folder, target
        self.portable = portable
        self.options = (layout or CoreMLLayout()) if target == "coreml" else OnnxOptions(portable)
        checkpoint, entry = open_checkpoint(str(folder)), TARGETS[target]
        self.spec: DecoderSpec = checkpoint.spec
        self.columns = {name: (1, self.spec.matrix_shape(name)[1] - 1) for name in self.spec.matrices()}
        plan = make_plan(self.spec, entry.capabilities(self.options, True), 8)
        self.weights = CompressedDecoder(checkpoint, plan, None, HoldOut(self.columns))
        self.extremes: dict[str, np.ndarray] = {}

    def package(self, ranges: str) -> PackagedDecoder:
        bounds = static_bounds(self.extremes, self.columns) if ranges == "static" else {}
        entry = TARGETS[self.target]
        path = self.folder / entry.path(self.options)
        common = WriteOptions(CONTEXT, "tiny", activations=ActivationQuantization(ranges, bounds))
        entry.write(self.weights, self.spec, self.options, common, path)
        if self.target == "coreml":
            return entry.open(path, CONTEXT, precision="float32")
        # By default onnxruntime rounds the head's input too.
        decoder = OnnxDecoder(path if self.portable else unrounded(path), CONTEXT)
        if self.portable:
            decoder._session = session(path, ("session.qdq_matmulnbits_accuracy_level=0",))
        return decoder

    def logits(self, rounded: Round | None) -> np.ndarray:
        """transformers' logits with the inputs of the layers' matrices quantized, except for held-out columns."""
        names = [*self.spec.matrices(), "embed_tokens", *([] if self.spec.tied_head else ["lm_head"])]
        model = with_matrices(self.variant, {name: self.weights.tensor(name) for name in names})
        for name, module in model.named_modules():
            ours = re.sub(r"^model\.|self_attn\.|mlp\.", "", name)
            if isinstance(module, torch.nn.Linear) and ours in self.columns:
                module.forward = self._forward(module, ours, rounded)
        with torch.inference_mode():
            return np.asarray(model(torch.from_numpy(IDS)[None]).logits[0].numpy())

    def _forward(self, module: Any, name: str, rounded: Round | None) -> Callable[[torch.Tensor], torch.Tensor]:
        apart = list(self.columns[name])

        def forward(x: torch.Tensor) -> torch.Tensor:
            if rounded is None:
                self.extremes[name] = np.stack([x.amin((0, 1)).numpy(), x.amax((0, 1)).numpy()])
                return torch.nn.functional.linear(x, module.weight, module.bias)
            rest = x.clone()
            rest[..., apart] = 0
            kept = torch.nn.functional.linear(x[..., apart], module.weight[:, apart], module.bias)
            return kept + torch.nn.functional.linear(rounded(rest, name), module.weight)

        return forward

    def within(self, ranges: str) -> Round:
        """How a package of this target quantizes."""

        def static(name: str) -> tuple[torch.Tensor, torch.Tensor]:
            rest = np.delete(self.extremes[name], self.columns[name], axis=1)
            return torch.tensor(rest[0].min()), torch.tensor(rest[1].max())

        def rounded(x: torch.Tensor, name: str) -> torch.Tensor:
            if ranges == "per-token":
                return about_zero(x, x.abs().amax(-1, keepdim=True))
            low, high = static(name) if ranges == "static" else (x.min(), x.max())
            return about_zero(x, torch.maximum(-low, high)) if self.target == "coreml" else between(x, low, high)

        return rounded


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.square(a - b).mean()))


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("ranges", ["per-token", "per-tensor", "static"])
@pytest.mark.parametrize("variant", ["llama-biased", "gemma2"])
def test_onnx_quantizes_what_transformers_layers_get(variant: str, ranges: str, portable: bool, tmp_path: Path) -> None:
    """With another range, or a held-out column quantized with the rest, it is not the model that was validated."""
    model = Model(variant, tmp_path, "onnx", portable=portable)
    plain = model.logits(None)
    expected = model.logits(model.within(ranges))
    decoder = model.package(ranges)
    # A value next to a half may round to the other integer because of a sum's last bit, and later values follow.
    # Entirely different integers would be 1.4 times as far off.
    noise = distance(expected, plain)
    assert noise > 0
    assert distance(decoder.step(IDS), expected) < 0.3 * noise
    if ranges != "per-tensor":  # which is about what a call gives
        decoder.reset()
        pieces = [decoder.step(IDS[at:to]) for at, to in [(0, 1), (1, 2), (2, 30), (30, 60)]]
        assert distance(np.concatenate(pieces), expected) < 0.3 * noise


@pytest.mark.parametrize("layout", [CoreMLLayout(), CoreMLLayout("ane", (1, 60))], ids=["gpu", "ane"])
def test_core_ml_quantizes_no_coarser_than_it_should(layout: CoreMLLayout, tmp_path: Path) -> None:
    """Norms and scales are float16 constants, so some values round to other integers, and only the size of the error
    can be compared."""
    model = Model("llama-biased", tmp_path, "coreml", layout)
    plain = model.logits(None)
    expected = model.logits(model.within("static"))
    noise = distance(expected, plain)
    model.package("static")
    for precision in ("float32", "float16"):
        decoder = TARGETS["coreml"].open(tmp_path / "model.mlpackage", CONTEXT, precision=precision)
        assert 0.7 * noise < distance(decoder.step(IDS), plain) < 1.4 * noise


@pytest.mark.parametrize("ranges", ["per-token", "per-tensor", "static"])
def test_the_standard_s_own_evaluator_runs_it(ranges: str, tmp_path: Path) -> None:
    """onnxruntime computes the operators by their documented meaning, which is what other runtimes implement."""
    model = Model("llama-biased", tmp_path, "onnx", portable=True)
    model.logits(None)
    decoder, ids = model.package(ranges), IDS[:9]
    proto = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    spec = model.spec
    caches = {
        value.name: np.zeros((1, spec.kv_heads, 0, spec.head_dim), np.float32)
        for value in proto.graph.input
        if value.name.startswith("past")
    }
    feeds = {"input_ids": ids[None].astype(np.int64), "attention_mask": np.ones((1, len(ids)), np.int64), **caches}
    logits = ReferenceEvaluator(proto).run(["logits"], feeds)[0][0]
    np.testing.assert_allclose(decoder.step(ids), logits, atol=0.02 * np.abs(logits).max())


@pytest.mark.parametrize(
    ("ranges", "fused"),
    [("per-token", "MatMulInteger"), ("per-tensor", "DynamicQuantizeMatMul"), ("static", "MatMulIntegerToFloat")],
)
def test_onnxruntime_multiplies_integers(ranges: str, fused: str, tmp_path: Path) -> None:
    """If its optimizer did not recognize the pattern, it would multiply floats, four times as slowly."""
    model = Model("llama", tmp_path, "onnx")
    model.logits(None)
    model.package(ranges)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "optimised.onnx", load_external_data=False).graph.node
    assert [node.op_type for node in nodes].count(fused) == 4 * model.spec.layers
    assert all(node.name.endswith(".restored") for node in nodes if node.op_type == "MatMul")


def test_core_ml_s_own_loader_finds_integers(tmp_path: Path) -> None:
    """The Neural Engine computes such products in integers: quantize and dequantize before each, one scale per row."""
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load

    model = Model("llama", tmp_path, "coreml")
    model.logits(None)
    model.package("static")
    path = tmp_path / TARGETS["coreml"].path(model.options)
    spec = ct.utils.load_spec(str(path))
    program = load(spec, spec.specificationVersion, str(path / "Data" / "com.apple.CoreML" / "weights"))
    operations = program.functions["main"].operations
    by_type = {kind: [op for op in operations if op.op_type == kind] for kind in ("quantize", "dequantize", "linear")}
    assert len(by_type["quantize"]) == len(by_type["dequantize"]) == 4 * model.spec.layers
    for op in by_type["linear"]:
        if re.match("layers_", op.weight.op.name):
            name = re.sub(r"layers_(\d+)_", r"layers.\1.", op.weight.op.name)
            largest = np.abs(np.delete(model.extremes[name], model.columns[name], axis=1)).max()
            assert op.x.op.op_type == "dequantize" and op.x.op.input.op.op_type == "quantize"
            assert op.x.op.scale.val == op.x.op.input.op.scale.val == pytest.approx(largest / 127, rel=1e-3)
            kept = np.ones(op.weight.shape[1])
            kept[list(model.columns[name])] = 0
            np.testing.assert_array_equal(op.x.op.input.op.input.op.y.val, kept)
            assert op.weight.op.scale.shape == (op.weight.shape[0], 1)
