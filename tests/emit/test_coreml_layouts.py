"""Core ML packages of every layout: fixed lengths, several functions, convolutions, chunks. All are the same model.

The reference is transformers with the matrices that the package stands for, so that only the graph differs.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from stored import with_matrices
from tiny_families import save

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.plan import make_plan
from edgesw.compress.split import chunks_needed, split_layers
from edgesw.errors import PackageError, UsageError
from edgesw.formats.coreml_layout import CoreMLLayout, make_layout
from edgesw.formats.write_options import WriteOptions
from edgesw.runtime.coreml import open_coreml
from edgesw.runtime.coreml_interface import packages
from edgesw.targets.coreml import CoreMLTarget
from edgesw.targets.registry import TARGETS

CONTEXT = 60
IDS = np.random.default_rng(7).integers(0, 96, CONTEXT)
LAYOUTS = {
    "fixed": CoreMLLayout("gpu", (16,)),
    "enumerated": CoreMLLayout("gpu", (1, 8, 32)),
    "cpu in 2 chunks": CoreMLLayout("cpu", chunks=2),
    "ane": CoreMLLayout("ane", (1, 16)),
    "ane with two prefills": CoreMLLayout("ane", (1, 8, 32)),
    "ane in 2 chunks": CoreMLLayout("ane", (1, 16), 2),
    "all": CoreMLLayout("all", (1, 16)),
    "enumerated in 2 chunks": CoreMLLayout("gpu", (1, 32), 2),
}
SIMPLER = ("fixed", "ane", "all", "enumerated in 2 chunks")  # the others have what these have
# Between them: tied and untied heads, biases, windows, norms of heads and of all heads, capped scores, layer norms,
# layers without positions.
FAMILIES = ("llama-biased", "gemma2", "olmo")
MORE_FAMILIES = ("llama", "mistral", "qwen3", "olmo2", "smollm3")


def write(folder: Path, variant: str, layout: CoreMLLayout, bits: int = 8, cluster_dim: int = 1) -> tuple[Path, Any]:
    save(variant, folder / "model")
    checkpoint = open_checkpoint(str(folder / "model"))
    target = TARGETS["coreml"]
    plan = make_plan(checkpoint.spec, target.capabilities(layout), bits, cluster_dim=cluster_dim)
    columns = {"layers.0.q_proj": (3, 9), "layers.1.down_proj": (5,)}
    weights = CompressedDecoder(checkpoint, plan, None, HoldOut(columns, ((0, 5, 7),), 0.01))
    path = folder / target.path(layout)
    target.write(weights, checkpoint.spec, layout, WriteOptions(CONTEXT, "tiny", 0.0), path)
    return path, with_matrices(variant, {name: weights.tensor(name) for name, _ in plan.schemes})


def expected(model: Any, count: int) -> np.ndarray:
    with torch.inference_mode():
        logits: np.ndarray = model(torch.from_numpy(IDS[:count])[None]).logits[0].numpy()
    return logits


def off(logits: np.ndarray, wanted: np.ndarray) -> float:
    """Norms, biases and tables are float16 constants in any precision: 2% is as close as results get."""
    return float(np.abs(logits - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(layout, id=name, marks=[pytest.mark.slow] if name in SIMPLER else [])
        for name, layout in LAYOUTS.items()
    ],
)
def test_every_layout_is_the_model(layout: CoreMLLayout, tmp_path: Path) -> None:
    """Prompts that fill a function's length, leave padding, or take several calls; then single tokens. Padding that is
    counted, or a chunk that loses its position, shows in the logits after it."""
    path, model = write(tmp_path, "llama", layout)
    decoder = open_coreml(path, CONTEXT, "float32")
    for prompt in (1, 16, 21, 45):
        decoder.reset()
        assert off(decoder.prefill(IDS[:prompt]), expected(model, prompt)[-1]) < 0.02, prompt
        assert off(decoder.step(IDS[prompt : prompt + 3]), expected(model, prompt + 3)[-3:]) < 0.02, prompt
    decoder.reset()
    decoder.prefill(IDS[:50])
    decoder.prefill(IDS[50:59])
    assert off(decoder.step(IDS[59:60]), expected(model, 60)[-1:]) < 0.02, "the last token of the context"
    with pytest.raises(UsageError, match="holds 60 tokens"):
        decoder.step(IDS[:1])


@pytest.mark.parametrize(
    "variant", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_FAMILIES)]
)
def test_convolutions_are_the_model_for_every_family(variant: str, tmp_path: Path) -> None:
    """This layout has its own norms, heads and products."""
    path, model = write(tmp_path, variant, CoreMLLayout("ane", (1, 16)))
    wanted = expected(model, 24)
    for precision, most in (("float32", 0.02), ("float16", 0.1)):
        decoder = open_coreml(path, CONTEXT, precision)
        assert off(decoder.prefill(IDS[:21]), wanted[20]) < most
        assert off(decoder.step(IDS[21:24]), wanted[21:]) < most


def test_palettes_of_vectors_make_convolutions_too(tmp_path: Path) -> None:
    """Their palettes have one more axis, and a convolution's weights two: mixed up, every row would be wrong."""
    path, model = write(tmp_path, "llama", LAYOUTS["ane"], 4, cluster_dim=2)
    decoder = open_coreml(path, CONTEXT, "float32")
    assert off(np.concatenate([decoder.step(IDS[at : at + 1]) for at in range(5)]), expected(model, 5)) < 0.03


@pytest.mark.parametrize("layout", ["enumerated", "ane with two prefills", "ane in 2 chunks", "cpu in 2 chunks"])
def test_rolling_caches_advance_by_real_tokens(layout: str, tmp_path: Path) -> None:
    """Two kinds of layers, one with a window of 7 tokens. Padding in the cache would push tokens out of the window."""
    path, model = write(tmp_path, "gemma2", LAYOUTS[layout])
    decoder = open_coreml(path, CONTEXT, "float32")
    for prompts in ((21, 3, 1, 9), (3, 5, 40), (1, 1, 33)):
        decoder.reset()
        seen = 0
        for prompt in prompts:
            seen += prompt
            logits = decoder.prefill(IDS[seen - prompt : seen])
            assert off(logits, expected(model, seen)[-1]) < 0.02, (prompts, seen)


def test_states_of_mixed_layers_have_their_own_names(tmp_path: Path) -> None:
    """swift-transformers requires keyCache and valueCache, and creates any other states."""
    path, _ = write(tmp_path, "gemma2", LAYOUTS["ane"])
    for description in spec(path).description.functions:
        shapes = {state.name: tuple(state.type.stateType.arrayType.shape) for state in description.state}
        assert set(shapes) == {"keyCache", "valueCache", "keyWindow", "valueWindow"}
        assert shapes["keyWindow"][-2] == 32 < shapes["keyCache"][-2]


def spec(path: Path) -> Any:
    return ct.utils.load_spec(str(path))


def test_the_neural_engine_layout_meets_its_limits(tmp_path: Path) -> None:
    """Static shapes, palettes, convolutions, padded states: docs/formats.md has the sources. Without any one of them
    layers, or the whole model, run on the CPU."""
    path, _ = write(tmp_path, "llama", CoreMLLayout("ane", (1, 16)))
    model = spec(path)
    assert {function.name for function in model.description.functions} == {"decode", "prefill"}
    assert model.description.defaultFunctionName == "decode"
    for description in model.description.functions:
        for each in description.input:
            assert each.type.multiArrayType.WhichOneof("ShapeFlexibility") is None
        for state in description.state:
            assert all(n % 32 == 0 for n in state.type.stateType.arrayType.shape[-2:])
        (logits,) = description.output
        assert logits.name == "logits"
    for function in model.mlProgram.functions.values():
        operations = [op.type for op in function.block_specializations[function.opset].operations]
        assert "conv" in operations and "linear" not in operations
        assert "constexpr_lut_to_dense" in operations and "constexpr_blockwise_shift_scale" not in operations


def test_functions_share_their_weights(tmp_path: Path) -> None:
    """A package of two functions must not be twice as large."""

    def size(layout: CoreMLLayout) -> int:
        path, _ = write(tmp_path / "-".join(map(str, layout.lengths)), "llama", layout)
        return (path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").stat().st_size

    one, three = size(CoreMLLayout("ane", (1,))), size(CoreMLLayout("ane", (1, 8, 32)))
    assert three < 1.05 * one


def test_a_missing_chunk_is_named(tmp_path: Path) -> None:
    path, _ = write(tmp_path, "llama", CoreMLLayout("gpu", chunks=2))
    (path / "1-of-2.mlpackage").rename(tmp_path / "elsewhere")
    with pytest.raises(PackageError, match="chunks are missing, there are 2-of-2"):
        packages(path)


def test_chunks_are_as_small_as_possible(tmp_path: Path) -> None:
    """Compared with every way to split: the largest chunk decides whether an iPhone loads the model."""
    save("llama", tmp_path)
    decoder = replace(open_checkpoint(str(tmp_path)).spec, layers=9, layer_rotary=(0,) * 9, layer_windows=(None,) * 9)
    plan = make_plan(decoder, CoreMLTarget().capabilities(CoreMLLayout()), 4)

    def largest(cuts: tuple[int, ...]) -> int:
        sizes = []
        for start, stop in zip((0, *cuts), (*cuts, 9), strict=True):
            names = [f"layers.{layer}." for layer in range(start, stop)]
            names += ["embed_tokens"] * (start == 0 or (stop == 9 and decoder.tied_head))
            names += ["lm_head"] * (stop == 9)
            sizes.append(sum(m.stored_bytes for m in plan.matrices if m.name.startswith(tuple(names))))
        return max(sizes)

    for chunks in range(1, 10):
        layers = split_layers(decoder, plan, chunks)
        assert [n for part in layers for n in part] == list(range(9)) and len(layers) == chunks and all(layers)
        cuts = tuple(part.start for part in layers[1:])
        best = min(map(largest, combinations(range(1, 9), chunks - 1)))
        assert largest(cuts) == best
        assert chunks_needed(decoder, plan, best) <= chunks
    with pytest.raises(UsageError, match="9 layers"):
        split_layers(decoder, plan, 10)


@pytest.mark.parametrize(
    ("compute", "lengths", "message"),
    [("ane", (), "fixed lengths"), ("gpu", (0, 64), "out of range"), ("gpu", (2000,), "1 to 1024")],
)
def test_impossible_layouts_are_refused(compute: str, lengths: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_layout(compute, lengths, 1, 4096)


ABLATIONS = {
    "any length": CoreMLLayout(ablation=True),
    "any length in 2 chunks": CoreMLLayout(chunks=2, ablation=True),
    "ane": CoreMLLayout("ane", (1, 16), ablation=True),
}


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(each, id=name, marks=[pytest.mark.slow] if at else [])
        for at, (name, each) in enumerate(ABLATIONS.items())
    ],
)
def test_an_ablation_is_the_model_without_what_is_held_out(layout: CoreMLLayout, tmp_path: Path) -> None:
    """Otherwise the switch in the app would not show the effect of super weights. An app that does not know the switch
    must get the whole model, in a package that is no larger."""
    (tmp_path / "plain").mkdir()
    plain, _ = write(tmp_path / "plain", "llama", replace(layout, ablation=False))
    path, model = write(tmp_path, "llama", layout)
    checkpoint = open_checkpoint(str(tmp_path / "model"))
    plan = make_plan(checkpoint.spec, CoreMLTarget().capabilities(layout), 8)
    bare = CompressedDecoder(
        checkpoint, plan, None, HoldOut({"layers.0.q_proj": (3, 9), "layers.1.down_proj": (5,)}, ((0, 5, 7),), 0.01)
    )
    without = with_matrices("llama", {name: bare.matrix(name).dense.decode() for name, _ in plan.schemes})
    assert off(expected(without, 20), expected(model, 20)) > 0.02, "too little is held out to tell the two apart"
    for corrected, wanted in ((True, model), (False, without)):
        decoder = open_coreml(path, CONTEXT, "float32", corrected=corrected)
        assert off(decoder.prefill(IDS[:20]), expected(wanted, 20)[-1]) < 0.02
        assert off(decoder.step(IDS[20:23]), expected(wanted, 23)[-3:]) < 0.02
    for ours, theirs in zip(packages(path), packages(plain), strict=True):
        weights = "Data/com.apple.CoreML/weights/weight.bin"
        assert (ours / weights).read_bytes() == (theirs / weights).read_bytes()
        description = ct.utils.load_spec(str(ours)).description
        assert description.defaultFunctionName == layout.functions[0].name
        names = {function.name for function in description.functions}
        plain_names = {each.name for each in replace(layout, ablation=False).functions}
        assert names == {each + ending for each in plain_names for ending in ("", "_uncorrected")}
