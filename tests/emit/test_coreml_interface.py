"""The Core ML program as other people's code calls it: with the mask that it happens to feed, or without one.

The reference is transformers on the float checkpoint; 8-bit codes are within a twentieth of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.plan import make_plan
from edgesw.formats.coreml_layout import CoreMLLayout
from edgesw.formats.write_options import WriteOptions
from edgesw.runtime.mil import MilProgram
from edgesw.targets.coreml import CoreMLTarget
from edgesw.targets.registry import TARGETS

CONTEXT = 1100  # more than one unit of the token counter
VOCABULARY = 96
IDS = np.random.default_rng(3).integers(0, VOCABULARY, CONTEXT)


def save(folder: Path, window: int | None = None) -> tuple[Path, Any]:
    """A random model and its Core ML package."""
    torch.manual_seed(4)
    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": CONTEXT,
    }  # fmt: skip
    model = (
        LlamaForCausalLM(LlamaConfig(**sizes))
        if window is None
        else MistralForCausalLM(MistralConfig(**sizes, sliding_window=window))
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder / "model")
    checkpoint = open_checkpoint(str(folder / "model"))
    path = folder / "model.mlpackage"
    weights = CompressedDecoder(checkpoint, make_plan(checkpoint.spec, CoreMLTarget().capabilities(CoreMLLayout()), 8))
    TARGETS["coreml"].write(weights, checkpoint.spec, CoreMLLayout(), WriteOptions(CONTEXT, "Tiny/Tiny"), path)
    return path, model


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return save(tmp_path_factory.mktemp("llama"))


def swift_transformers(past: int, new: int) -> dict[str, np.ndarray]:
    """Its `LanguageModelWithStatefulKVCache`: zeros, one row, one slot more than the text so far."""
    return {"causalMask": np.zeros((1, 1, 1, past + new + 1), np.float16)}


def proper(past: int, new: int) -> dict[str, np.ndarray]:
    """As in Apple's Llama 3.1 sample: a row for each query, later keys masked, here with the lowest float16."""
    later = np.arange(past + new)[None] > np.arange(past, past + new)[:, None]
    return {"causalMask": np.where(later, np.finfo(np.float16).min, 0).astype(np.float16)[None, None]}


def none(past: int, new: int) -> dict[str, np.ndarray]:
    return {}


def run(program: MilProgram, ids: np.ndarray, sizes: list[int], mask: Callable[..., Any]) -> np.ndarray:
    state, past, parts = program.make_state(), 0, []
    for new in sizes:
        piece = ids[past : past + new].astype(np.int32)[None]
        parts.append(program.predict({"inputIds": piece, **mask(past, new)}, state)["logits"][0])
        past += new
    return np.concatenate(parts)


def expected(model: Any, ids: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        logits: np.ndarray = model(torch.from_numpy(ids)[None]).logits[0].numpy()
    return logits


def close(logits: np.ndarray, wanted: np.ndarray) -> bool:
    """Up to the error of 8-bit codes, 5% in a thousand tokens. A token that attends to a wrong key is far more off."""
    return float(np.abs(logits - wanted).max()) < 0.1 * float(np.abs(wanted).max())


@pytest.mark.parametrize("mask", [swift_transformers, proper, none])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_chat_is_right_whatever_mask_the_app_feeds(
    package: tuple[Path, Any], mask: Callable[..., Any], precision: str
) -> None:
    """A prompt at once, then token by token, then a second prompt, and so on. A program that took causality or the
    number of past tokens from the mask would let the prompt attend to later tokens and to empty slots."""
    path, model = package
    program = MilProgram(path, precision=precision)
    logits = run(program, IDS[:40], [20, 1, 1, 1, 10, 1, 6], mask)
    assert close(logits, expected(model, IDS[:40]))


@pytest.mark.parametrize("mask", [swift_transformers, proper, none])
def test_the_whole_context_can_be_used(package: tuple[Path, Any], mask: Callable[..., Any]) -> None:
    """Up to the last token, beyond the integers of float16, and with the mask that is one slot too long."""
    path, model = package
    logits = run(MilProgram(path, precision="float32"), IDS, [1000, 99, 1], mask)
    assert close(logits, expected(model, IDS))


def test_a_mask_may_hide_more_than_later_tokens(package: tuple[Path, Any]) -> None:
    """Apps that feed several texts at once, or padding, mask keys themselves."""
    path, model = package
    mask = np.zeros((1, 1, 1, 12), np.float16)
    mask[..., :3] = -1e4
    program = MilProgram(path, precision="float32")
    ids = IDS[:12].astype(np.int32)[None]
    logits = program.predict({"inputIds": ids, "causalMask": mask}, program.make_state())["logits"][0]
    seen = torch.tril(torch.ones(12, 12, dtype=torch.bool))
    seen[:, :3] = False
    bias = torch.where(seen, 0.0, -1e4)[None, None]
    with torch.inference_mode():
        wanted = model(torch.from_numpy(ids).long(), attention_mask=bias).logits[0].numpy()
    assert close(logits[3:], wanted[3:])


def test_a_conversation_can_be_shortened(package: tuple[Path, Any]) -> None:
    """`tokenCount` decides: an app that drops the last answer writes the number of tokens that remain."""
    path, model = package
    program = MilProgram(path, precision="float32")
    state = program.make_state()
    program.predict({"inputIds": IDS[:1060].astype(np.int32)[None]}, state)
    assert state.read_state("tokenCount").tolist() == [1, 36]
    state.write_state("tokenCount", np.array([0, 25], np.float16))
    logits = program.predict({"inputIds": IDS[25:40].astype(np.int32)[None]}, state)["logits"][0]
    assert close(logits, expected(model, IDS[:40])[25:])


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return save(tmp_path_factory.mktemp("mistral"), window=40)


@pytest.mark.parametrize("mask", [swift_transformers, proper, none])
def test_a_window_counts_from_the_true_position(windowed: tuple[Path, Any], mask: Callable[..., Any]) -> None:
    """A prompt shorter than the window, one that crosses it, single tokens, and a much longer prompt."""
    path, model = windowed
    logits = run(MilProgram(path, precision="float32"), IDS, [30, 35, 1, 1, 1, 900, 1, 130, 1], mask)
    assert close(logits, expected(model, IDS))


def test_a_window_s_cache_is_no_longer_than_the_window(windowed: tuple[Path, Any]) -> None:
    """At a context of 32,768 a window of 4,096 takes an eighth of the memory."""
    states = MilProgram(windowed[0]).states
    assert states["keyCache"] == states["valueCache"] == (2, 1, 1, 64, 16)


def test_a_mask_hides_tokens_of_a_window_too(windowed: tuple[Path, Any]) -> None:
    """The caller's mask is indexed by token, the rolling cache is not."""
    path, model = windowed
    program = MilProgram(path, precision="float32")
    state, ids = program.make_state(), IDS[:70].astype(np.int32)[None]
    program.predict({"inputIds": ids[:, :60]}, state)
    mask = np.zeros((1, 1, 1, 70), np.float16)
    mask[..., 40:45] = -1e4
    logits = program.predict({"inputIds": ids[:, 60:], "causalMask": mask}, state)["logits"][0]
    # transformers on the whole text, in which only the last ten tokens do not attend to the five.
    place, key = np.arange(70)[:, None], np.arange(70)
    seen = (key <= place) & (place - key < 40) & ~((place >= 60) & (key >= 40) & (key < 45))
    bias = torch.from_numpy(np.where(seen, 0.0, -1e4).astype(np.float32))[None, None]
    with torch.inference_mode():
        wanted = model(torch.from_numpy(ids).long(), attention_mask=bias).logits[0].numpy()
    assert close(logits, wanted[60:])
    assert not close(logits, expected(model, IDS[:70])[60:]), "the five tokens make no difference here"


def test_a_package_has_what_swift_transformers_looks_for(package: tuple[Path, Any]) -> None:
    """docs/formats.md lists where its sources read each of these; without one of them the app stops."""
    path, _ = package
    description = ct.utils.load_spec(str(path)).description
    inputs = {each.name: each.type for each in description.input}
    ids = inputs["inputIds"].multiArrayType
    assert ids.dataType == ct.proto.FeatureTypes_pb2.ArrayFeatureType.INT32
    # contextRange reads the range of the last axis, and the stateful model needs more than one length in it.
    lengths = ids.shapeRange.sizeRanges[-1]
    assert (lengths.lowerBound, lengths.upperBound) == (1, CONTEXT)
    assert {state.name for state in description.state} >= {"keyCache", "valueCache"}
    (output,) = description.output
    assert output.name == "logits"
    assert description.metadata.userDefined["co.huggingface.exporters.name"] == "Tiny/Tiny"
    # Inputs for which it has no useful value, or that it does not know, must not be required.
    assert set(inputs) == {"inputIds", "causalMask"}
    mask = inputs["causalMask"]
    assert mask.isOptional
    assert mask.multiArrayType.dataType == ct.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT16
    # For the last token its mask is one slot longer than the context.
    assert mask.multiArrayType.shapeRange.sizeRanges[-1].upperBound >= CONTEXT + 1


def test_logits_have_rank_3_over_all_tokens(package: tuple[Path, Any]) -> None:
    """swift-transformers reads row q - 1 of them."""
    program = MilProgram(package[0], precision="float32")
    for count in (1, 7):
        ids = IDS[:count].astype(np.int32)[None]
        logits = program.predict({"inputIds": ids}, program.make_state())["logits"]
        assert logits.shape == (1, count, VOCABULARY)
