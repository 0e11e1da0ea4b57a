"""Layers compressed one after the other, against transformers run with the compressed layers before."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.compress.compensate import compensate
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.plan import make_plan
from edgesw.compress.streamed import StreamedDecoder, input_feedback
from edgesw.targets import TARGETS
from edgesw.texts import shipped_text, windows
from edgesw.tokenizer import Tokenizer

PLACES = {"q_proj": "self_attn", "k_proj": "self_attn", "v_proj": "self_attn", "o_proj": "self_attn"}


def decoder(folder: Path, **options: Any) -> StreamedDecoder:
    """The tiny model at 2 bits, where layers show what those before them have lost."""
    checkpoint = open_checkpoint(str(folder))
    plan = make_plan(checkpoint.spec, TARGETS["coreml"].capabilities, 2)
    return StreamedDecoder(checkpoint.spec, checkpoint, plan, token_ids(folder), **options)


def token_ids(folder: Path) -> np.ndarray:
    return windows(shipped_text("calibration"), Tokenizer.from_folder(folder), 4, 128)


def inputs_of_the_second_layer(folder: Path, first: StreamedDecoder | None) -> torch.Tensor:
    """What transformers feeds to q_proj of layer 1, its layer 0 taken from `first`."""
    model = LlamaForCausalLM.from_pretrained(folder)
    seen = []
    model.model.layers[1].self_attn.q_proj.register_forward_hook(lambda module, args, y: seen.append(args[0]))
    with torch.inference_mode():
        for kind in ("q", "k", "v", "o", "gate", "up", "down") if first else ():
            name = f"{kind}_proj"
            part = getattr(model.model.layers[0], PLACES.get(name, "mlp"))
            getattr(part, name).weight.copy_(torch.from_numpy(first.tensor(f"layers.0.{name}")))
        model(torch.from_numpy(token_ids(folder)))
    return seen[0]


def test_the_second_layer_is_fitted_to_what_the_first_one_makes_as_stored(tiny_llama: Path) -> None:
    """On the float model's inputs it would make up for errors that are not there, and not for those that are."""
    ours, name = decoder(tiny_llama), "layers.1.q_proj"
    weights, scheme = open_checkpoint(str(tiny_llama)).tensor(name), ours.plan.scheme(name)
    shares = []
    for first in (ours, None):
        expected = compensate(weights, input_feedback(inputs_of_the_second_layer(tiny_llama, first)), scheme)
        shares.append(float((expected.codes == ours.matrix(name).codes).mean()))
    assert shares[0] > 0.999
    assert shares[1] < 0.99, "it makes no difference here, so this tests nothing"


def test_no_more_than_one_layer_is_in_memory(tiny_llama: Path) -> None:
    """A model of 7 billion weights is converted on a laptop that could not hold its codes."""
    alive = []

    def count(name: str) -> None:
        alive.append(sum(type(thing) is CompressedMatrix for thing in gc.get_objects()) - before)

    gc.collect()
    before = sum(type(thing) is CompressedMatrix for thing in gc.get_objects())
    ours = decoder(tiny_llama, progress=count)
    for name in open_checkpoint(str(tiny_llama)).spec.matrices():
        ours.matrix(name)
    assert len(alive) == 14, "seven matrices a layer, each compressed once"
    assert max(alive) == 6, "those of the same layer before it"


@pytest.mark.parametrize("name", ["layers.0.down_proj", "layers.1.up_proj"])
def test_a_matrix_is_the_same_whenever_it_is_asked_for(name: str, tiny_llama: Path) -> None:
    """Validation and a second target ask again, and in their own order."""
    ours = decoder(tiny_llama)
    first = ours.matrix(name).codes
    ours.matrix("layers.1.down_proj")
    assert (ours.matrix(name).codes == first).all()


def test_a_token_as_loud_as_a_super_activation_leaves_room_for_the_others() -> None:
    """At its full size nothing else counted: layer 11 of SmolLM2 lost most of what it says of all other tokens."""
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 400, 32)).astype(np.float32))
    quiet = input_feedback(x)
    x[0, 0] *= 1e4
    loud = input_feedback(x)
    assert np.abs(loud.importance / quiet.importance - 1).max() < 0.5
    assert (loud.importance != quiet.importance).any()
