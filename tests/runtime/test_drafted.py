"""Prompts that share their beginning, and drafts, change the time that greedy decoding takes and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import save_tokenizer
from tiny_families import VARIANTS, make, save

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.decoder.decoder import decoder_head
from edgesw.package.manifest import read_manifest
from edgesw.runtime.drafted import DraftedDecoder, accepted, all_begin_with
from edgesw.runtime.generate import generate
from edgesw.runtime.packaged_decoder import Rewinding
from edgesw.runtime.packed import Group, Kept, PackedOps
from edgesw.runtime.torch import residual_stream
from edgesw.targets.registry import open_decoder

GROUPS = (
    Group(tuple(range(10, 30)), ((40, 41, 42), (50,), tuple(range(60, 75)))),
    Group((), ((11, 12, 13, 14), tuple(range(20, 36)))),
)
SLOW = {"gemma2", "gemma3", "mistral", "llama"}


@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=() if name in SLOW else pytest.mark.slow) for name in VARIANTS]
)
def test_packed_rows_are_computed_as_transformers_computes_each_alone(variant: str, tmp_path: Path) -> None:
    """Windows, caps and positions of each row must not depend on the rows around it."""
    model = save(variant, tmp_path / "m")
    model = make(variant).eval() if model is None else model
    checkpoint = open_checkpoint(str(tmp_path / "m"))
    groups = GROUPS if "longrope" not in variant and "partial" not in variant else GROUPS[1:]
    ops = PackedOps(checkpoint.spec, checkpoint, groups)
    for x in residual_stream(ops):
        hidden = x
    again: Kept = {}
    for turn in range(2):  # the second takes the shared tokens' keys and values from the first
        other = PackedOps(checkpoint.spec, checkpoint, groups, again)
        for x in residual_stream(other):
            repeated = x
        assert other.ids.size == ops.ids.size - turn * len(groups[0].shared)
        for one, own in zip(other.rests, ops.rests, strict=True):
            torch.testing.assert_close(repeated[:, one], hidden[:, own])
    rows = [(*group.shared, *rest) for group in groups for rest in group.rests]
    for row, own in zip(rows, ops.rests, strict=True):
        with torch.inference_mode():
            ours = decoder_head(ops, hidden[0, own]).numpy()
            expected = model(torch.tensor([row])).logits[0].numpy()[own.start - own.stop :]
        np.testing.assert_allclose(ours, expected, atol=2e-4, rtol=1e-3)


PROMPTS = ([5, 6, 7, 8, 9], [5, 6, 7, 8, 20, 21], [5, 6, 7, 8, 20, 21], [5, 6], [90, 5, 6], list(range(5, 60)))


def check(package: Path, target: str) -> DraftedDecoder:
    decoder = open_decoder(package, read_manifest(package), target)
    expected = [list(generate(decoder, prompt, (), 9)) for prompt in PROMPTS]
    drafted = DraftedDecoder(decoder)
    drafts: list[Callable[[list[int]], list[int]]] = [
        lambda right: [],
        lambda right: right,
        lambda right: [*right[:3], right[3] ^ 1, 4],
        lambda right: [right[0] ^ 1],
        lambda right: [right[0] ^ 1, *right[1:]],
    ]
    for draft in drafts:
        for prompt, right in zip(PROMPTS, expected, strict=True):
            assert drafted.continued(prompt, 9, (), draft(right), lambda ids: False) == right
    (stop,) = set(expected[0][-1:])
    ended = drafted.continued(PROMPTS[0], 9, (stop,), expected[0], lambda ids: False)
    assert ended == expected[0][: expected[0].index(stop)]
    assert len(drafted.continued(PROMPTS[0], 9, (), [], lambda ids: len(ids) == 2)) == 2
    return drafted


@pytest.mark.parametrize("target", ["onnx", "coreml"])
def test_a_package_writes_the_same_with_drafts_and_shared_prompts(target: str, unrounded_package: Path) -> None:
    """A token of the prompt before that stayed in the cache would change the answer to this one."""
    drafted = check(unrounded_package, target)
    assert isinstance(drafted.decoder, Rewinding) and drafted.decoder.rewind(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "words", "rewinds"),
    [
        ("llama", ("--compute", "ane"), True),
        ("llama", ("--chunks", 2), True),
        ("mistral", (), False),
        ("gemma3", (), False),
        ("gemma3", ("--compute", "ane"), False),
    ],
)
def test_a_cache_that_has_forgotten_is_filled_again(
    variant: str, words: tuple[Any, ...], rewinds: bool, tmp_path: Path
) -> None:
    """A rolling cache has dropped what was before its window: going back in it would answer from nothing."""
    from edgesw.cli.program import run

    save(variant, tmp_path / "m", vocab_size=320)
    save_tokenizer(tmp_path / "m")
    asked = ["convert", str(tmp_path / "m"), "--target", "coreml", *map(str, words), "--calibrate", "none"]
    assert run([*asked, "-o", str(tmp_path / "p")]) == 0
    drafted = check(tmp_path / "p", "coreml")
    assert isinstance(drafted.decoder, Rewinding)
    drafted.decoder.reset()
    drafted.decoder.prefill(np.arange(5, 25))
    assert drafted.decoder.rewind(3) is rewinds


def test_a_check_of_a_draft_establishes_one_token_more() -> None:
    assert accepted([1, 2, 3], [1, 2], 9, ()) == ([1, 2, 3], False)
    assert accepted([1, 5, 3], [1, 2], 9, ()) == ([1, 5], False)
    assert accepted([1, 2, 3], [1, 2], 2, ()) == ([1, 2], False)
    assert accepted([1, 2, 3], [1, 2], 9, (2,)) == ([1], True)
    assert all_begin_with([(1, 2, 3), (1, 2), (1, 2, 9)]) == 2 and all_begin_with([(1,), (2,), (1, 1)]) == 0
