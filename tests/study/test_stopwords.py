"""`stopwords` against transformers' probabilities, and which words are one token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_reference as reference
import torch
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from edgesw.study import stopwords
from edgesw.study.evaluation import Evaluation
from edgesw.text.tokenizer import Tokenizer


def mean_probabilities(model: Any, ids: np.ndarray) -> torch.Tensor:
    return torch.cat([logits[:-1].softmax(-1) for logits in reference.logits(model, ids)]).mean(0)


def test_probabilities_equal_transformers(
    evaluation: Evaluation, tokenizer: Tokenizer, ids: np.ndarray, tiny_model: tuple[Path, Any], zeroed: Any
) -> None:
    """The table's figures, the token's share of the text among them."""
    findings = stopwords.run(evaluation, tokenizer)
    rows = {row["condition"]: row for row in findings.rows}
    before, after = mean_probabilities(tiny_model[1], ids), mean_probabilities(zeroed, ids)
    token = tokenizer.encode("x,", add_special_tokens=False)[-1]
    row = rows["','"]
    assert row["float"] == pytest.approx(float(before[token]), rel=1e-3)
    assert row["removed"] == pytest.approx(float(after[token]), rel=1e-3)
    assert row["ratio"] == pytest.approx(float(after[token] / before[token]), rel=1e-3)
    assert row["share"] == pytest.approx(float((ids[:, 1:] == token).mean()))
    words = [row for row in findings.rows if row["kind"] == "stop word"]
    assert len(words) >= 3
    assert rows["all of these"]["float"] == pytest.approx(sum(row["float"] for row in words))
    raised = [row for row in findings.rows if row["kind"] == "raised"]
    assert raised[0]["removed"] - raised[0]["float"] == pytest.approx(float((after - before).max()), rel=1e-3)
    for word in stopwords.WORDS:
        assert (repr(word) in rows) != (repr(word) in "".join(findings.notes)), f"{word!r} is lost, or told twice"


def test_a_tokenizer_that_puts_a_space_in_front_of_a_text_has_its_words_found() -> None:
    """Llama 2's and Mistral's do: by themselves " the" would be two tokens there, and "," a rare one."""
    vocabulary = {"▁x": 0, "▁the": 1, "the": 2, ",": 3, "▁,": 4, "▁": 5, "<unk>": 6}
    backend = Backend(models.BPE(vocabulary, [], unk_token="<unk>"))
    backend.model = models.WordLevel(vocabulary, unk_token="<unk>")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
            pre_tokenizers.Split(",", "isolated"),
        ]
    )
    known, unknown = stopwords.single_tokens(Tokenizer.from_files({"tokenizer.json": backend.to_str().encode()}))
    assert known[" the"] == 1 and known[","] == 3
    assert " ," in unknown, "a space and a comma are two tokens here"
    assert set(known) | set(unknown) == set(stopwords.WORDS)
