"""Detection compared with ground truth: random decoders of every family with super weights planted in them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.lib.planted import FAMILIES, KINDS, compare, plant
from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.outliers.detect import detect

SEEDS = 3  # of each: 252 plantings
FEW = [*((family, "row") for family in FAMILIES), *(("llama", kind) for kind in KINDS if kind != "row")]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> object:
    """With matrices this small, threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_found(folder: Path, family: str, kind: str, seed: int) -> None:
    planted = plant(folder, family, kind, seed)
    compared = compare(planted)
    assert (compared.missed, compared.false_alarms) == (set(), set()), (family, kind, seed, planted)
    tied = {a.channel for a in compared.found.super_activations if a.from_super_weight}
    assert tied == {row for layer, row, _ in planted.super_weights}


@pytest.mark.parametrize(
    ("family", "kind"), [pytest.param(*each, marks=[pytest.mark.slow] if at % 4 else []) for at, each in enumerate(FEW)]
)
def test_finds_what_is_planted_and_no_more(family: str, kind: str, tmp_path: Path) -> None:
    """A miss compresses the scalar that the model depends on; a false alarm reports one that it does not."""
    assert_found(tmp_path, family, kind, seed=100)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_finds_what_is_planted_anywhere(family: str, kind: str, seed: int, tmp_path: Path) -> None:
    """The same for every family, layer and size: rules fitted to one model would miss in another."""
    assert_found(tmp_path, family, kind, seed)


def test_effect_decides_and_not_magnitude(tmp_path: Path) -> None:
    """A super activation that nothing reads is as large as any other. By magnitude alone its scalar would be held out
    and reported; its effect on the next token rules it out, and the report says so."""
    planted = plant(tmp_path, "llama", "harmless", seed=7)
    checkpoint = open_checkpoint(str(tmp_path))
    (guessed,) = detect(checkpoint.spec, checkpoint, planted.ids, confirm=False).super_weights
    found = detect(checkpoint.spec, checkpoint, planted.ids)
    assert found.super_weights == ()
    assert guessed.coordinates in [candidate.coordinates for candidate in found.rejected]
    (why,) = [candidate.why for candidate in found.rejected if candidate.coordinates == guessed.coordinates]
    assert why == "0.0 times its null: 5 are needed"


def test_names_the_layer_that_cancels_the_super_activation(tmp_path: Path) -> None:
    """That scalar is as large as the super weight; the results must show that the activation ends there."""
    planted = plant(tmp_path, "mistral", "cancel", seed=1)
    checkpoint = open_checkpoint(str(tmp_path))
    found = detect(checkpoint.spec, checkpoint, planted.ids)
    ((layer, row, _),) = found.cancels_at
    (activation,) = [a for a in found.super_activations if a.channel == row]
    assert activation.magnitudes[layer] < 0.5 * activation.magnitudes[layer - 1]
