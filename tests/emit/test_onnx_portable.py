"""`--portable`: in the standard's operators alone the model must be the same, or other runtimes run another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from tiny import assert_one_line, edgesw
from tiny_families import VARIANTS, save

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.plan import make_plan
from edgesw.formats.write_options import WriteOptions
from edgesw.package.manifest import read_manifest
from edgesw.runtime.arm_guest import session
from edgesw.runtime.onnx import OnnxDecoder
from edgesw.runtime.torch import FloatLogits
from edgesw.targets.onnx import OnnxOptions
from edgesw.targets.registry import TARGETS

CONTEXT = 64
IDS = np.random.default_rng(5).integers(0, 96, 60)


def write(variant: str, folder: Path, bits: int = 4, embedding_bits: int = 8) -> tuple[Path, CompressedDecoder]:
    """A portable model with columns and scalars held out of every matrix, and its compressed decoder."""
    save(variant, folder)
    checkpoint, entry = open_checkpoint(str(folder)), TARGETS["onnx"]
    spec = checkpoint.spec
    can = entry.capabilities(OnnxOptions(portable=True))
    columns = {name: (1, spec.matrix_shape(name)[1] - 1) for name in spec.matrices()}
    plan = make_plan(spec, can, bits, embedding_bits=embedding_bits)
    weights = CompressedDecoder(checkpoint, plan, None, HoldOut(columns, fraction=0.01))
    path = folder / entry.path(entry.options())
    entry.write(weights, spec, OnnxOptions(portable=True), WriteOptions(CONTEXT, "tiny"), path)
    return path, weights


@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=[] if at % 2 else [pytest.mark.slow]) for at, name in enumerate(VARIANTS)]
)
def test_it_is_the_model_that_was_compressed(variant: str, tmp_path: Path) -> None:
    """Positions, windows, caps and caches, which this graph spells out, in one piece and in several."""
    path, weights = write(variant, tmp_path)
    expected = next(iter(FloatLogits(open_checkpoint(str(tmp_path)).spec, weights, IDS[None])))
    tolerance = 1e-3 * max(1, np.abs(expected).max())
    decoder = OnnxDecoder(path, CONTEXT)
    # onnxruntime fuses a product and a DequantizeLinear into MatMulNBits, which quantizes its inputs by default.
    decoder._session = session(path, ("session.qdq_matmulnbits_accuracy_level=0",))
    assert np.abs(decoder.step(IDS) - expected).max() < tolerance
    decoder.reset()
    pieces = [decoder.step(IDS[at:to]) for at, to in [(0, 1), (1, 2), (2, 30), (30, 31), (31, 60)]]
    assert np.abs(np.concatenate(pieces) - expected).max() < tolerance


@pytest.mark.parametrize(("bits", "embedding_bits"), [(4, 8), (8, 4)])
def test_the_standard_s_own_evaluator_runs_it(bits: int, embedding_bits: int, tmp_path: Path) -> None:
    """It has only the standard's operators, with their documented meaning, which is what other runtimes implement."""
    path, weights = write("llama-biased", tmp_path, bits, embedding_bits)
    spec = open_checkpoint(str(tmp_path)).spec
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} == {""} == {opset.domain for opset in model.opset_import}
    ids = IDS[:9]
    caches = {
        value.name: np.zeros((1, spec.kv_heads, 0, spec.head_dim), np.float32)
        for value in model.graph.input
        if value.name.startswith("past")
    }
    feeds = {"input_ids": ids[None].astype(np.int64), "attention_mask": np.ones((1, len(ids)), np.int64), **caches}
    logits = ReferenceEvaluator(model).run(["logits"], feeds)[0][0]
    expected = next(iter(FloatLogits(spec, weights, ids[None])))
    assert np.abs(logits - expected).max() < 1e-3 * max(1, np.abs(expected).max())


def test_tokens_that_pad_a_batch_in_front_change_nothing(tmp_path: Path) -> None:
    """Batches are padded so that all prompts end together: a short one must neither attend to padding nor count it."""
    path, _ = write("llama-biased", tmp_path)
    session = OnnxDecoder(path, CONTEXT)._session
    cache = {value.name: value for value in session.get_inputs() if value.name.startswith("past")}

    def logits(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        empty = {
            name: np.zeros((len(ids), each.shape[1], 0, each.shape[3]), np.float32) for name, each in cache.items()
        }
        return np.asarray(session.run(["logits"], {"input_ids": ids, "attention_mask": mask, **empty})[0])

    alone = logits(IDS[None, :7], np.ones((1, 7), np.int64))
    batch = np.stack([np.concatenate([np.zeros(5, np.int64), IDS[:7]]), IDS[20:32]])
    mask = np.ones((2, 12), np.int64)
    mask[0, :5] = 0
    np.testing.assert_allclose(logits(batch, mask)[0, 5:], alone[0], atol=1e-4)


def test_the_command_writes_it_and_genai_runs_it(tiny_llama: Path, tmp_path: Path) -> None:
    og = pytest.importorskip("onnxruntime_genai")
    package = tmp_path / "package"
    ran = edgesw("convert", tiny_llama, "--target", "onnx", "--portable", "--calibrate", "none", "-o", package)
    assert ran.code == 0, ran.err
    assert read_manifest(package).models["onnx"].options == {"portable": True}
    ran = edgesw("validate", package, "--against", tiny_llama, "--windows", 1, "--tokens", 64)
    assert ran.code in (0, 3) and "onnxruntime" in ran.out
    model = og.Model(str(package))
    settings = og.GeneratorParams(model)
    settings.set_search_options(max_length=20)
    run = og.Generator(model, settings)
    run.append_tokens([5, 6, 7])
    while not run.is_done():
        run.generate_next_token()
    decoder, tokens = OnnxDecoder(package / "model.onnx", CONTEXT), [5, 6, 7]
    logits = decoder.step(np.array(tokens))
    while len(tokens) < 20:
        tokens.append(int(logits[-1].argmax()))
        logits = decoder.step(np.array(tokens[-1:]))
    assert [int(token) for token in run.get_sequence(0)] == tokens[: len(run.get_sequence(0))]


def test_it_is_an_option_of_onnx(tiny_llama: Path, tmp_path: Path) -> None:
    ran = edgesw("convert", tiny_llama, "--target", "coreml", "--portable", "-o", tmp_path / "package")
    assert_one_line(ran, 2, "--portable", "--target onnx")
    ran = edgesw("convert", tiny_llama, "--target", "onnx", "--portable", "--bits", "2", "-o", tmp_path / "package")
    assert_one_line(ran, 2, "2-bit", "4, 8")
