"""The tiny model with its planted super weight, ready to be studied, and transformers' own model beside it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_reference as reference

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.outliers.detect import find_outliers
from edgesw.study.evaluation import Evaluation
from edgesw.text.texts import shipped_text, windows
from edgesw.text.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def ids(tokenizer: Tokenizer) -> np.ndarray:
    """Windows with the token in them that makes the planted super activation."""
    made = windows(shipped_text("validation"), tokenizer, 6, 64)
    made[:, (5, 40)] = tokenizer.encode("A", add_special_tokens=False)[0]
    return made


@pytest.fixture(scope="session")
def evaluation(tiny_llama: Path, tokenizer: Tokenizer, ids: np.ndarray) -> Evaluation:
    checkpoint = open_checkpoint(str(tiny_llama))
    return Evaluation(checkpoint.spec, checkpoint, ids, find_outliers(checkpoint, tokenizer, lambda *_: None))


@pytest.fixture
def model(tiny_model: tuple[Path, Any]) -> Any:
    """transformers' model, to be changed at will."""
    return copy.deepcopy(tiny_model[1])


@pytest.fixture
def zeroed(model: Any) -> Any:
    """transformers' model without the super weight."""
    reference.scale_super_weight(model, 0)
    return model
