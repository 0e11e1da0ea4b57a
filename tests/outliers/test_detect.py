"""Detection on the real model, whose super weights are known from zeroing them (perplexity 30 -> 1,058,669)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.outliers.detect import PROMPT, detect
from edgesw.outliers.found import SuperOutliers
from edgesw.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def smollm2() -> Checkpoint:
    return open_checkpoint("smollm2-135m")


@pytest.fixture(scope="module")
def found(smollm2: Checkpoint) -> SuperOutliers:
    tokenizer = Tokenizer.from_files(smollm2.tokenizer_files())
    return detect(smollm2.spec, smollm2, np.array(tokenizer.encode(PROMPT, bos=False)))


def test_finds_both_super_weights_in_order_and_no_other(found: SuperOutliers) -> None:
    """The second shows only once the first is removed. Layer 28's scalar is as large, takes the activation out again,
    and must not be reported: removing it changes nothing."""
    assert [w.coordinates for w in found.super_weights] == [(11, 507, 1229), (11, 507, 1487)]
    first, second = found.super_weights
    assert (first.value, second.value) == (pytest.approx(5.8757, abs=1e-3), pytest.approx(6.0659, abs=1e-3))
    assert first.output_spike == pytest.approx(24017, rel=0.01)
    assert second.output_spike == pytest.approx(6418, rel=0.02)


def test_names_the_super_activation(found: SuperOutliers) -> None:
    """Its channel, first token and layers are what emitters and people need to know."""
    (activation,) = found.super_activations
    assert (activation.channel, activation.tokens, activation.first_layer) == (507, (0,), 11)
    assert activation.last_layer >= 26
    assert activation.magnitude > 20_000
    assert activation.from_super_weight


class Counted:
    """Counts how much of the model is read, and keeps the largest tensor's size."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint, self.names, self.largest = checkpoint, [], 0  # type: ignore[var-annotated]

    def tensor(self, name: str) -> np.ndarray:
        values = self.checkpoint.tensor(name)
        self.names.append(name)
        self.largest = max(self.largest, values.nbytes)
        return values

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        values = self.checkpoint.rows(name, rows)
        self.largest = max(self.largest, values.nbytes)
        return values


def test_streams_the_model(smollm2: Checkpoint) -> None:
    """A 7B model must fit a laptop: one matrix at a time, never the embedding as a whole or the head, and a later pass
    begins at the layer that changed."""
    counted = Counted(smollm2)
    detect(smollm2.spec, counted, np.array([39080, 5829, 30, 314, 253]))
    assert counted.largest == 576 * 1536 * 4
    assert counted.names.count("layers.10.down_proj") == 1
    assert counted.names.count("layers.11.down_proj") == 3
    assert "lm_head" not in counted.names


def test_an_ordinary_model_has_none(tmp_path_factory: pytest.TempPathFactory) -> None:
    """ "None found" is a valid answer: a false alarm would hold out, and report, what is nothing."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=160, num_hidden_layers=6, num_attention_heads=4
    )
    folder = tmp_path_factory.mktemp("ordinary")
    LlamaForCausalLM(config).save_pretrained(folder)
    checkpoint = open_checkpoint(str(folder))
    none = detect(checkpoint.spec, checkpoint, np.arange(10))
    assert none == SuperOutliers((), ())
