"""A sensitivity is a KL divergence: measured on a decoder small enough to measure everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edgesw.calibration.calibrate import input_mean_squares
from edgesw.calibration.gradients import output_gradients
from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.compress.hold_out import MatrixHoldOut
from edgesw.compress.palette_scheme import PaletteScheme
from edgesw.compress.sensitivity import matrix_sensitivities, measure_sensitivities, sample_rows, sensitivity
from edgesw.decoder.decoder import decoder
from edgesw.runtime.torch import TorchOps
from edgesw.text.texts import shipped_text, windows
from edgesw.text.tokenizer import Tokenizer

PALETTES = [PaletteScheme(bits, 16) for bits in (2, 4, 6)]


def noise(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)


def test_for_one_product_and_a_softmax_it_is_the_divergence() -> None:
    """The formula itself: a factor of two or a mean in the wrong place would misjudge every matrix alike, and
    the forecast would not be in nats."""
    random = np.random.default_rng(0)
    tokens, rows, columns = 4000, 6, 5
    x, weights = random.normal(size=(tokens, columns)), random.normal(size=(rows, columns)) * 0.3
    error = random.normal(size=(rows, columns)) * 0.01
    before, after = (F.log_softmax(torch.from_numpy(x @ w.T), -1) for w in (weights, weights + error))
    real = float((before.exp() * (before - after)).sum(-1).mean())
    labels = F.one_hot(torch.multinomial(before.exp(), 1, generator=torch.Generator().manual_seed(0))[:, 0], rows)
    gradients = (before.exp() - labels).square().mean(0).numpy()  # of the cross entropy, at the product's output
    # What the diagonal leaves out, how outputs go together, is a factor of rows / (rows - 1) for a flat softmax.
    expected = sensitivity(error, (x**2).mean(0), gradients)
    assert expected == pytest.approx(real, rel=0.3)


def test_more_bits_cost_less_and_silent_inputs_nothing() -> None:
    weights, gradients = noise(64, 48), np.ones(64, np.float32)
    found = matrix_sensitivities(weights, PALETTES, np.ones(48, np.float32), gradients)
    assert found[0] > 10 * found[1] > 10 * found[2] > 0
    assert matrix_sensitivities(weights, PALETTES, np.ones(48, np.float32), 0 * gradients) == [0, 0, 0]


def test_a_held_out_column_costs_nothing() -> None:
    """Counted, a super weight would draw bits to a matrix that does not need them."""
    weights = noise(64, 48)
    weights[5, 7] = 300
    columns, rows = np.ones(48, np.float32), np.ones(64, np.float32)
    (counted,), (held,) = (
        matrix_sensitivities(weights, [PaletteScheme(2, 0)], columns, rows, MatrixHoldOut(at)) for at in ((), (7,))
    )
    assert held < 0.7 * counted


def test_a_sample_tells_what_the_whole_matrix_would() -> None:
    """Large matrices are judged by a sample: off by a factor, they would get the bits of others."""
    weights, random = noise(4096, 1024), np.random.default_rng(1)
    gradients = random.lognormal(size=4096).astype(np.float32)
    columns = random.lognormal(size=1024).astype(np.float32)
    scheme = PaletteScheme(4, 16)
    rows = sample_rows(4096, 1024, 16)
    assert len(rows) < 4096 / 2 and not (rows.reshape(-1, 16)[:, 0] % 16).any(), "whole groups, and not all of them"
    (sampled,) = matrix_sensitivities(weights, [scheme], columns, gradients)
    whole = sum(
        matrix_sensitivities(weights[at : at + 512], [scheme], columns, gradients[at : at + 512])[0]
        for at in range(0, 4096, 512)
    )
    assert sampled == pytest.approx(whole, rel=0.05)


@pytest.fixture(scope="module")
def tiny(tiny_llama: Path) -> tuple[Checkpoint, np.ndarray]:
    checkpoint = open_checkpoint(str(tiny_llama))
    return checkpoint, windows(shipped_text("calibration"), Tokenizer.from_folder(tiny_llama), 8, 128)


def log_probabilities(checkpoint: Checkpoint, ids: np.ndarray, weights: object) -> torch.Tensor:
    with torch.inference_mode():
        return F.log_softmax(decoder(TorchOps(checkpoint.spec, weights, ids)), -1)  # type: ignore[arg-type]


class Changed:
    """The checkpoint with one matrix changed."""

    def __init__(self, checkpoint: Checkpoint, name: str, value: np.ndarray) -> None:
        self._checkpoint, self._name, self._value = checkpoint, name, value

    def tensor(self, name: str) -> np.ndarray:
        return self._value if name == self._name else self._checkpoint.tensor(name)

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self._checkpoint.rows(name, rows)


def test_it_ranks_matrices_as_the_divergence_does(tiny: tuple[Checkpoint, np.ndarray]) -> None:
    """Ranked wrongly, the budget goes to matrices that do not need it: worse than the same width for all."""
    checkpoint, ids = tiny
    spec = checkpoint.spec
    squares, gradients = input_mean_squares(spec, checkpoint, ids), output_gradients(spec, checkpoint, ids)
    before = log_probabilities(checkpoint, ids, checkpoint)
    random = np.random.default_rng(0)
    real, expected = [], []
    for name in spec.matrices():
        weights = checkpoint.tensor(name)
        error = (random.normal(size=weights.shape) * 0.02 * weights.std()).astype(np.float32)
        after = log_probabilities(checkpoint, ids, Changed(checkpoint, name, weights + error))
        real.append(float((before.exp() * (before - after)).sum(-1).mean()))
        expected.append(sensitivity(error, squares[name], gradients[name]))
    ranks = [np.argsort(np.argsort(one)) for one in (real, expected)]
    assert np.corrcoef(*ranks)[0, 1] > 0.8, list(zip(spec.matrices(), real, expected, strict=True))
    assert 0.3 < np.exp(np.mean(np.log(expected) - np.log(real))) < 3, "in nats, on the whole"


def test_gradients_are_torchs_own(tiny: tuple[Checkpoint, np.ndarray]) -> None:
    """The streamed backward pass, layer by layer, compared with one graph of the whole decoder."""
    checkpoint, ids = tiny
    spec, outputs = checkpoint.spec, dict[str, torch.Tensor]()

    def keep(name: str, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> None:
        if name != "lm_head":
            y.requires_grad_() if not y.requires_grad else y.retain_grad()
            outputs[name] = y

    logits = decoder(TorchOps(spec, checkpoint, ids[:1], keep))[0]
    draw = torch.Generator().manual_seed(0)
    labels = torch.multinomial(torch.softmax(logits.detach(), -1), 1, generator=draw)[:, 0]
    F.cross_entropy(logits, labels, reduction="sum").backward()
    streamed = output_gradients(spec, checkpoint, ids[:1])
    assert streamed.keys() == outputs.keys()
    for name, output in outputs.items():
        assert output.grad is not None
        np.testing.assert_allclose(streamed[name], output.grad[0].square().mean(0), rtol=1e-3, atol=1e-12)


def test_every_matrix_is_measured_once(tiny: tuple[Checkpoint, np.ndarray]) -> None:
    checkpoint, _ = tiny
    names, read = checkpoint.spec.matrices(), list[str]()
    shapes = {name: checkpoint.spec.matrix_shape(name) for name in names}
    found = measure_sensitivities(
        checkpoint,
        dict.fromkeys(names, PALETTES),
        {name: np.ones(shapes[name][1], np.float32) for name in names},
        {name: np.ones(shapes[name][0], np.float32) for name in names},
        progress=read.append,
    )
    assert read == list(found) == names
    assert all(len(one) == len(PALETTES) for one in found.values())
