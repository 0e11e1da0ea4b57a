"""Packages of tiny random models, for every scheme a format can carry: what is in the files, and what runs.

The reference is transformers with the weights that the package's own files hold, decoded here by coremltools (Core ML)
or by the operator's documented formula (ONNX).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from stored import stored_matrices
from tiny import unrounded
from transformers import LlamaConfig, LlamaForCausalLM

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.plan import make_plan
from edgesw.formats.write_options import WriteOptions
from edgesw.runtime.coreml import CoreMLDecoder
from edgesw.runtime.mil import MilProgram
from edgesw.runtime.packaged_decoder import PackagedDecoder
from edgesw.runtime.torch import FloatLogits
from edgesw.targets.registry import TARGETS

CONTEXT = 64
HELD_OUT = ((1, 5, 100), (1, 9, 100), (1, 5, 7))
# Matrices that read the hidden state, one that writes to it, and one with scalars held out too.
COLUMNS = {
    "layers.0.q_proj": (3,),
    "layers.0.k_proj": (3, 60),
    "layers.0.v_proj": (0,),
    "layers.1.o_proj": (17,),
    "layers.1.gate_proj": (63, 5),
    "layers.0.up_proj": (31, 32),
    "layers.0.down_proj": (159,),
    "layers.1.down_proj": (100, 20),
}
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("coreml", {"bits": 4}),
    ("coreml", {"bits": 8}),
    ("coreml", {"bits": 5}),
    ("coreml", {"bits": 2}),
    ("coreml", {"bits": 3, "group": 0}),
    ("coreml", {"bits": 4, "kind": "palette", "group": 8}),
    ("coreml", {"bits": 6}),
    ("coreml", {"bits": 8, "kind": "palette", "group": 0}),
    ("coreml", {"bits": 4, "cluster_dim": 2}),
    ("coreml", {"bits": 2, "cluster_dim": 4, "group": 8}),
    ("onnx", {"bits": 4}),
    ("onnx", {"bits": 4, "group": 128}),
    ("onnx", {"bits": 8}),
    ("onnx", {"bits": 6}),
    ("onnx", {"bits": 3}),
]


class Made:
    """A package on disk, what it was made from, and what runs it."""

    def __init__(self, checkpoint: Checkpoint, target: str, options: dict[str, Any], folder: Path) -> None:
        self.target, self.spec = target, checkpoint.spec
        entry = TARGETS[target]
        self.decoder = CompressedDecoder(
            checkpoint,
            make_plan(checkpoint.spec, entry.capabilities(entry.options()), **options),
            None,
            HoldOut(COLUMNS, HELD_OUT),
        )
        self.path = folder / entry.path(entry.options())
        entry.write(self.decoder, checkpoint.spec, entry.options(), WriteOptions(CONTEXT, "tiny"), self.path)

    @property
    def tolerance(self) -> float:
        """Float16 constants (norms, tables) are exact to half precision."""
        return 0.03 if self.target == "coreml" else 1e-3

    def skip_unless_run_here(self) -> None:
        """onnxruntime's MatMulNBits has 2 bits since version 1.24, which is not available for Python 3.10."""
        two = any(matrix.scheme.bits == 2 for matrix in self.decoder.plan.matrices)
        if self.target == "onnx" and two and tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 24):
            pytest.skip("this onnxruntime has no 2-bit MatMulNBits")

    def run(self, precision: str = "float32") -> PackagedDecoder:
        self.skip_unless_run_here()
        if self.target == "coreml":  # the interpreter on a Mac too: there is no float32 in Core ML to compare with
            return CoreMLDecoder(MilProgram(self.path, precision=precision), CONTEXT, "interpreter")
        return TARGETS[self.target].open(unrounded(self.path), CONTEXT, precision=precision)

    def stored(self) -> dict[str, np.ndarray]:
        """The dense matrices in the files, float32, by canonical name."""
        return stored_matrices(self.target, self.path)

    def reference(self) -> LlamaForCausalLM:
        """transformers with the stored matrices and the float16 values of what is held out."""
        stored = self.stored()
        for name, columns in COLUMNS.items():
            stored[name][:, columns] = self.decoder._weights.tensor(name)[:, columns].astype(np.float16)
        for layer, row, column in HELD_OUT:
            value = self.decoder._weights.tensor(f"layers.{layer}.down_proj")[row, column]
            stored[f"layers.{layer}.down_proj"][row, column] = np.float16(value)
        spec = self.spec
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=spec.vocab_size, hidden_size=spec.hidden_size, intermediate_size=spec.intermediate_size,
                num_hidden_layers=spec.layers, num_attention_heads=spec.heads, num_key_value_heads=spec.kv_heads,
                head_dim=spec.head_dim, rms_norm_eps=spec.norm_eps,
                tie_word_embeddings=spec.tied_head, max_position_embeddings=spec.max_positions,
            )
        ).eval()  # fmt: skip
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                ours = name.removeprefix("model.").removesuffix(".weight").replace("self_attn.", "").replace("mlp.", "")
                ours = ours.replace("input_layernorm", "attention_norm").replace("post_attention_layernorm", "mlp_norm")
                values = stored[ours] if ours in stored else self.decoder.vector(ours)
                parameter.copy_(torch.from_numpy(values))
        return model


@pytest.fixture(
    scope="module", params=[pytest.param(True, id="tied"), pytest.param(False, id="untied", marks=pytest.mark.slow)]
)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=160, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=request.param,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for layer, row, column in HELD_OUT:
            model.model.layers[layer].mlp.down_proj.weight[row, column] = 3.0
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder)
    return open_checkpoint(str(folder))


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda s: f"{s[0]} " + " ".join(map(str, s[1].values())))
def made(request: pytest.FixtureRequest, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(checkpoint, *request.param, tmp_path_factory.mktemp("package"))


def test_8_bit_inputs_cost_little(made: Made) -> None:
    """Packages compute so by default, for speed. An input quantized with another block's scale would lose the token."""
    made.skip_unless_run_here()
    if made.target == "coreml":
        pytest.skip("Core ML computes in float16")
    exact, rounded = made.run().step(IDS), TARGETS["onnx"].open(made.path, CONTEXT, precision="float32").step(IDS)
    assert 0 < np.abs(rounded - exact).mean() < 0.05 * np.abs(exact).mean()


MLP = ("gate_proj", "up_proj", "down_proj")
IDS = np.random.default_rng(5).integers(0, 160, 40)


def test_files_hold_what_was_compressed(made: Made) -> None:
    """With a code, scale or palette in the wrong place, the package is not the model that was measured."""
    stored = made.stored()
    names = set(made.decoder.plan._by_name)
    assert set(stored) == names
    for name in names:
        expected = made.decoder.matrix(name).dense.decode()
        assert np.abs(stored[name] - expected).max() <= 2e-3 * np.abs(expected).max(), name


def test_logits_equal_transformers_with_the_stored_weights(made: Made) -> None:
    """The graph must be the model: attention, rotary embedding, norms, correction, head."""
    with torch.inference_mode():
        expected = made.reference()(torch.from_numpy(IDS)[None]).logits[0].numpy()
    logits = made.run("float32").step(IDS)
    assert np.abs(logits - expected).max() < made.tolerance * max(1, np.abs(expected).max())
    assert (logits.argmax(-1) == expected.argmax(-1)).mean() >= (1.0 if made.tolerance < 0.01 else 0.9)


def test_the_cache_is_right(made: Made) -> None:
    """Prefill, then single tokens, then a piece: the same logits as all at once. Otherwise chats drift off."""
    decoder = made.run("float32")
    whole = decoder.step(IDS)
    decoder.reset()
    pieces = [decoder.step(IDS[at:to]) for at, to in [(0, 1), (1, 2), (2, 17), (17, 18), (18, 40)]]
    assert np.abs(np.concatenate(pieces) - whole).max() < 2e-2 * max(1, np.abs(whole).max())


def test_hold_out_reaches_the_logits(made: Made) -> None:
    """A correction that is written but not added would go unnoticed in the files."""
    model = made.reference()
    with torch.inference_mode():
        right = model(torch.from_numpy(IDS)[None]).logits[0].numpy()
        for layer, row, column in HELD_OUT:
            model.model.layers[layer].mlp.down_proj.weight[row, column] = 0
        without = model(torch.from_numpy(IDS)[None]).logits[0].numpy()
    logits = made.run("float32").step(IDS)
    assert np.abs(logits - right).max() < 0.2 * np.abs(without - right).max()


def test_held_out_columns_reach_the_logits(made: Made) -> None:
    """In every matrix of a layer: without its correction, a column has an error hundreds of times that of others."""
    logits, model = made.run("float32").step(IDS), made.reference()
    with torch.inference_mode():
        right = model(torch.from_numpy(IDS)[None]).logits[0].numpy()
        for name, columns in COLUMNS.items():
            _, layer, kind = name.split(".")
            part = getattr(model.model.layers[int(layer)], "mlp" if kind in MLP else "self_attn")
            weight = getattr(part, kind).weight
            kept = weight[:, columns].clone()
            weight[:, columns] = 0
            without = model(torch.from_numpy(IDS)[None]).logits[0].numpy()
            weight[:, columns] = kept
            assert np.abs(logits - right).mean() < 0.5 * np.abs(logits - without).mean(), name


def test_the_float_twin_equals_the_package(made: Made) -> None:
    """Benchmarks run the compressed decoder in float in place of the package, including embedding and tied head."""
    twin = next(iter(FloatLogits(made.spec, made.decoder, IDS[None])))
    logits = made.run("float32").step(IDS)
    assert np.abs(logits - twin).max() < made.tolerance * max(1, np.abs(twin).max())


@pytest.mark.parametrize("target", ["coreml", "onnx"])
def test_corrections_take_the_bytes_that_the_manifest_states(
    target: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """Bits per weight count it, and a budget of bytes pays for it."""
    entry = TARGETS[target]
    plan = make_plan(checkpoint.spec, entry.capabilities(entry.options()), 4)

    def size(name: str, hold_out: HoldOut) -> int:
        path = tmp_path / name / entry.path(entry.options())
        path.parent.mkdir()
        entry.write(
            CompressedDecoder(checkpoint, plan, None, hold_out),
            checkpoint.spec,
            entry.options(),
            WriteOptions(CONTEXT, "tiny"),
            path,
        )
        return sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())

    columns = HoldOut({"layers.1.down_proj": (7, 100)})
    scalars_too = replace(columns, fraction=0.01)
    plain, whole, both = size("a", HoldOut()), size("b", columns), size("c", scalars_too)
    # Besides the values: a few nodes of the graph for each matrix, and the alignment of the file.
    assert plan.correction_bytes(columns) <= whole - plain <= plan.correction_bytes(columns) + 8192
    scalars = plan.correction_bytes(scalars_too) - plan.correction_bytes(columns)
    assert scalars <= both - whole <= scalars + len(plan.layers) * 3072
