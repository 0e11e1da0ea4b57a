"""What a scalar is: by its effect on a text, and by how that text begins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from benchmarks.lib.planted import compare, plant
from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.outliers.beginnings import TEXT_TOKENS, beginnings
from edgesw.outliers.detect import PROMPT, find_outliers
from edgesw.outliers.results import CHAT, INERT, INFLUENTIAL, PLAIN, SUPER_WEIGHT, Change, Effect, SuperOutliers
from edgesw.outliers.text_effects import classify
from edgesw.outliers.text_pass import measure_text
from edgesw.text.tokenizer import Tokenizer

WEAK = Effect(0.1, 0.1, 0, 0.005, 0.005)


def _change(kl: float) -> Change:
    return Change(1 + kl, kl, 0.5)


@pytest.mark.parametrize(
    ("alone", "together", "others", "null", "kind"),
    [
        (2.0, 2.0, None, 0.0, SUPER_WEIGHT),  # alone
        (0.1, 6.0, 1.5, 0.0, SUPER_WEIGHT),  # only with the one that stands in for it
        (0.1, 6.0, 5.9, 0.0, INFLUENTIAL),  # the others destroy the model without its help
        (0.4, 0.4, None, 0.0, INFLUENTIAL),
        (0.001, 0.7, 0.3, 0.0, INFLUENTIAL),  # of a set that has an effect, and none alone
        (0.04, 0.04, None, 0.03, INERT),  # no more than ordinary scalars
        (0.008, 0.008, None, 0.0, INERT),
    ],
)
def test_the_line_is_half_of_what_the_model_knows(
    alone: float, together: float, others: float | None, null: float, kind: str
) -> None:
    """A scalar without which the model still predicts is not called a super weight."""
    known = 3.5
    assert classify(known, _change(alone), _change(together), others and _change(others), _change(null), WEAK) == kind


def test_a_scalar_that_matters_without_destroying_the_model_is_influential(tmp_path: Path) -> None:
    """Its super activation is as large as any. Called a super weight, it would promise a loss that does not happen."""
    planted = plant(tmp_path, "llama", "influential", seed=5)
    compared = compare(planted)
    assert (compared.missed, compared.false_alarms) == (set(), set())
    (scalar,) = compared.found.influential
    assert scalar.coordinates in planted.influential and "without it: perplexity × " in scalar.without_it()


def test_a_scalar_that_matters_only_after_a_chat_prefix_is_reported_so(tmp_path: Path) -> None:
    """Models are measured on plain text and used in chats: what breaks only these must be found, and said."""
    model = tiny.save_llama(tmp_path, steps=0, initializer_range=0.2)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{{ eos_token }}{% for message in messages %}{{ message.content }}{% endfor %}"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tiny._plant(model, 1)  # the token </s>, which no plain text has
    model.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    found = find_outliers(checkpoint, Tokenizer.from_files(checkpoint.tokenizer_files()), lambda *_: None)
    every = {scalar.coordinates: scalar for scalar in (*found.super_weights, *found.rejected)}
    scalar = every[tiny.SUPER_WEIGHT]
    plain, chat = scalar.text
    assert (plain.beginning, chat.beginning, scalar.prompt) == (PLAIN, CHAT, CHAT)
    assert plain.kind == INERT and plain.alone.kl < 1e-3
    assert scalar.kind == chat.kind != INERT and chat.alone.kl > 10 * chat.null.kl
    assert scalar.only == CHAT and scalar.without_it().endswith("; only where a text begins as a user message")
    assert SuperOutliers.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_texts_begin_as_the_model_reads_them(tmp_path: Path) -> None:
    """A window with a BOS that the tokenizer does not give, or in half a template, would measure another model."""
    tiny.save_llama(tmp_path, steps=0)
    checkpoint = open_checkpoint(str(tmp_path))
    tokenizer = Tokenizer.from_files(checkpoint.tokenizer_files())
    plain, chat = beginnings(tokenizer, checkpoint.spec, PROMPT, "here")
    assert plain.prompt.tolist() == tokenizer.encode(PROMPT)
    assert tokenizer.decode(chat.prompt.tolist(), special=True) == f"[user] {PROMPT}"
    for beginning in (plain, chat):
        windows = beginning.windows
        assert (windows[:, : len(beginning.prefix)] == np.array(beginning.prefix)).all()
        assert len(np.unique(windows, axis=0)) == len(windows)
    assert plain.windows[:, len(plain.prefix) :].size == TEXT_TOKENS


@pytest.mark.slow
def test_smollm2_has_two_super_weights_and_influential_scalars_before_them(
    smollm2: Checkpoint, smollm2_tokenizer: Tokenizer
) -> None:
    """The real model: what is reported, and in words, as plain text and as a user message."""
    found = find_outliers(smollm2, smollm2_tokenizer, lambda *_: None)
    assert [w.coordinates for w in found.super_weights] == [(11, 507, 1229), (11, 507, 1487)]
    assert {scalar.coordinates for scalar in found.influential} >= {(1, 507, 83), (2, 507, 90), (9, 507, 200)}
    assert [(s.coordinates, s.kind) for s in found.cancelling] == [((28, 507, 678), INERT)]
    for weight in found.super_weights:
        assert [effect.kind for effect in weight.text] == [SUPER_WEIGHT, SUPER_WEIGHT] and weight.only is None
        assert weight.text[0].together.perplexity > 1000 and weight.text[0].tokens >= 2040


@pytest.mark.slow
def test_effects_on_smollm2_are_those_of_transformers(smollm2: Checkpoint, smollm2_tokenizer: Tokenizer) -> None:
    """Computed by transformers' own model from the same weights, in float32, on some of the same windows."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    ids = beginnings(smollm2_tokenizer, smollm2.spec, PROMPT, "here")[0].windows[:2]
    removal = frozenset({(11, 507, 1229)})
    measured = measure_text(smollm2.spec, smollm2, ids, 0, [removal]).changes[removal]
    model = LlamaForCausalLM(LlamaConfig(**smollm2.config)).eval()
    tensors = load_gguf_checkpoint(str(smollm2.source.path), return_tensors=True, model_to_load=model)["tensors"]
    tensors.setdefault("lm_head.weight", tensors["model.embed_tokens.weight"])
    model.load_state_dict({name: torch.as_tensor(np.asarray(value)) for name, value in tensors.items()})
    with torch.no_grad():
        whole = model(torch.from_numpy(ids)).logits[:, :-1].log_softmax(-1)
        model.model.layers[11].mlp.down_proj.weight[507, 1229] = 0
        changed = model(torch.from_numpy(ids)).logits[:, :-1].log_softmax(-1)
    targets = torch.from_numpy(ids[:, 1:, None])
    ratio = (whole.gather(-1, targets) - changed.gather(-1, targets)).double().mean().exp()
    assert measured.kl == pytest.approx(float((whole.exp() * (whole - changed)).sum(-1).mean()), rel=0.02)
    assert measured.perplexity == pytest.approx(float(ratio), rel=0.02)
