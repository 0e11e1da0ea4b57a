"""Detection on the real model, whose super weights are known from zeroing them (perplexity 30 -> 1,058,669)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.outliers.detect import PROMPT, detect
from edgesw.outliers.results import SuperOutliers
from edgesw.outliers.significance import TIMES_NULL
from edgesw.text.tokenizer import Tokenizer

SUPER_WEIGHTS = [(11, 507, 1229), (11, 507, 1487)]
PROMPTS = (Path(__file__).parent / "prompts.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def found(smollm2: Checkpoint, smollm2_tokenizer: Tokenizer) -> SuperOutliers:
    return detect(smollm2.spec, smollm2, np.array(smollm2_tokenizer.encode(PROMPT, add_special_tokens=False)))


def test_finds_both_super_weights_in_order_and_no_other(found: SuperOutliers) -> None:
    """The second shows only when the first is removed. Layer 28's scalar is as large, cancels the activation, and must
    not be reported: removing it changes nothing."""
    assert [w.coordinates for w in found.super_weights] == SUPER_WEIGHTS
    first, second = found.super_weights
    assert (first.value, second.value) == (pytest.approx(5.8757, abs=1e-3), pytest.approx(6.0659, abs=1e-3))
    assert first.output_spike == pytest.approx(24017, rel=0.01)
    assert second.output_spike == pytest.approx(6418, rel=0.02)


def test_both_super_weights_are_confirmed_by_effect(found: SuperOutliers) -> None:
    """Zeroed alone, the second changes little: its effect must be measured with the first, where it is fatal."""
    first, second = (w.effect for w in found.super_weights)
    assert found.confirmed and first and second
    assert first.alone == pytest.approx(3.87, rel=0.02)
    assert second.alone == pytest.approx(0.089, rel=0.05)
    assert first.joint == second.joint == pytest.approx(9.33, rel=0.02)
    assert second.on_top == pytest.approx(second.joint - first.alone, rel=1e-6)
    assert first.margin > second.margin > 5 * TIMES_NULL


def test_the_super_weights_have_outlier_channels(found: SuperOutliers) -> None:
    """A rounding error anywhere in these columns is multiplied by their inputs."""
    spikes = {(spike.matrix, spike.column): spike for spike in found.outlier_channels}
    for weight in found.super_weights:
        spike = spikes["layers.11.down_proj", weight.column]
        assert spike.input == pytest.approx(abs(weight.input_spike), rel=1e-5)
        assert spike.token == weight.token and spike.times_mean > 50


def test_layer_28_cancels_the_super_activation_and_does_not_matter(found: SuperOutliers) -> None:
    (cancelling,) = found.cancelling
    assert cancelling.coordinates == (28, 507, 678)
    assert cancelling.value == pytest.approx(-5.78, abs=0.01)
    assert cancelling.effect and cancelling.effect.alone < 0.01 and cancelling.effect.margin < TIMES_NULL


def test_reports_the_rejected_candidates(found: SuperOutliers) -> None:
    """Layer 1's scalar matters (KL 1.08) without making a super activation: it must be reported, and not as a super
    weight."""
    rejected = {candidate.coordinates: candidate for candidate in found.rejected}
    early = rejected[1, 507, 83]
    assert early.effect and early.effect.alone == pytest.approx(1.08, rel=0.02)
    assert early.why == "not a super activation: its spike is 224 times the median"


def test_names_the_super_activation(found: SuperOutliers) -> None:
    """People and later stages need its channel, first token and layers."""
    (activation,) = found.super_activations
    assert (activation.channel, activation.tokens, activation.first_layer) == (507, (0,), 11)
    assert activation.last_layer >= 26
    assert activation.magnitude == max(activation.magnitudes) > 20_000
    assert activation.magnitudes[10] < 200 and len(activation.magnitudes) == 30
    assert activation.from_super_weight


def test_gives_each_layers_largest_activations(found: SuperOutliers, smollm2: Checkpoint) -> None:
    """The plot and the guard against float16 overflow depend on these."""
    assert [peak.layer for peak in found.peaks] == list(range(30))
    peak = found.peaks[11]
    assert (peak.input_token, peak.input_column, peak.output_token, peak.output_row) == (0, 1229, 0, 507)
    assert peak.input == pytest.approx(2996, rel=0.01) and peak.output == pytest.approx(24022, rel=0.01)
    assert peak.candidate == SUPER_WEIGHTS[0]
    assert peak.residual == pytest.approx(24058, rel=0.01)
    assert found.peaks[10].residual < 1000


def test_the_set_does_not_depend_on_the_first_token(found: SuperOutliers) -> None:
    assert [check.prompt for check in found.first_token] == ["with BOS before it", "without its first token"]
    assert not found.depends_on_first_token


def test_result_survives_json(found: SuperOutliers) -> None:
    """Later commands read the file: nothing may be lost, or have a type that JSON does not have."""
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert SuperOutliers.from_dict(json.loads(text)) == found


@pytest.mark.slow
def test_fast_says_that_nothing_was_confirmed(smollm2: Checkpoint, smollm2_tokenizer: Tokenizer) -> None:
    ids = np.array(smollm2_tokenizer.encode(PROMPTS[2]))
    fast = detect(smollm2.spec, smollm2, ids, confirm=False)
    assert [w.coordinates for w in fast.super_weights] == SUPER_WEIGHTS
    assert not fast.confirmed and all(w.effect is None for w in (*fast.super_weights, *fast.rejected))


FEW = [(PROMPTS[1], True, torch.float32), (PROMPTS[2], False, torch.bfloat16)]


def _assert_same(smollm2: Checkpoint, smollm2_tokenizer: Tokenizer, prompt: str, bos: bool, dtype: torch.dtype) -> None:
    start = (smollm2_tokenizer.bos_id,) if bos else ()
    ids = np.array([*start, *smollm2_tokenizer.encode(prompt, add_special_tokens=False)])
    found = detect(smollm2.spec, smollm2, ids, prefix=start, dtype=dtype)
    assert [w.coordinates for w in found.super_weights] == SUPER_WEIGHTS
    assert found.cancels_at == ((28, 507, 678),)


@pytest.mark.slow
@pytest.mark.parametrize(("prompt", "bos", "dtype"), FEW)
def test_other_prompts_give_the_same_set(
    smollm2: Checkpoint, smollm2_tokenizer: Tokenizer, prompt: str, bos: bool, dtype: torch.dtype
) -> None:
    """Super weights belong to the model, not to the prompt. With the first of these prompts the neuron of column 1229
    also makes a massive value in channel 247, whose loss changes nothing while the super weights are there."""
    _assert_same(smollm2, smollm2_tokenizer, prompt, bos, dtype)


@pytest.mark.nightly
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_prompt_gives_the_same_set(
    smollm2: Checkpoint, smollm2_tokenizer: Tokenizer, prompt: str, bos: bool, dtype: torch.dtype
) -> None:
    """With BOS and without, in float32 and in bfloat16."""
    _assert_same(smollm2, smollm2_tokenizer, prompt, bos, dtype)


class Counted:
    """Counts how much of the model is read, and records the largest tensor's size."""

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


@pytest.mark.slow
def test_streams_the_model(smollm2: Checkpoint) -> None:
    """A 7B model must fit on a laptop: one matrix at a time, never the whole embedding or head, and a later pass begins
    at the layer that changed."""
    counted = Counted(smollm2)
    detect(smollm2.spec, counted, np.array([39080, 5829, 30, 314, 253]))
    assert counted.largest == 576 * 1536 * 4
    assert counted.names.count("layers.0.q_proj") == 1
    assert counted.names.count("layers.10.q_proj") == 2  # the first pass, and that which measures all effects
    assert counted.names.count("layers.12.q_proj") == 4
    assert "lm_head" not in counted.names and "embed_tokens" not in counted.names


def test_an_ordinary_model_has_none(tmp_path_factory: pytest.TempPathFactory) -> None:
    """ "None found" is a valid answer: a false alarm would hold out, and report, ordinary scalars."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=160, num_hidden_layers=6, num_attention_heads=4
    )
    folder = tmp_path_factory.mktemp("ordinary")
    LlamaForCausalLM(config).save_pretrained(folder)
    checkpoint = open_checkpoint(str(folder))
    none = detect(checkpoint.spec, checkpoint, np.arange(10))
    assert (none.super_weights, none.super_activations, none.cancelling, none.rejected) == ((), (), (), ())
    assert none.confirmed and len(none.peaks) == 6
