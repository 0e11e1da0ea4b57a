"""Detection: the super outliers of a model by its name, and how they agree with its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.checkpoint.source import Source
from edgesw.decoder.spec import DecoderSpec
from edgesw.outliers.agreement import RecipeAgreement, compare
from edgesw.outliers.detect import find_outliers
from edgesw.outliers.results import SuperOutliers
from edgesw.progress import Progress
from edgesw.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Detection:
    """The result of a detection."""

    model: str
    """As it was asked for."""
    source: Source
    """Where the model is and where it came from."""
    spec: DecoderSpec
    outliers: SuperOutliers
    agreement: RecipeAgreement | None
    """Between the model's recipe and what was found; None without a recipe that names super weights."""

    def to_dict(self) -> dict[str, Any]:
        """The detection as JSON values."""
        source = {"model": self.model, "origin": self.source.origin, "revision": self.source.revision}
        return {**source, **self.outliers.to_dict(), "agreement": self.agreement.to_dict() if self.agreement else None}


def detect_model(model: str, revision: str | None, *, confirm: bool, progress: Progress) -> Detection:
    """Finds the super outliers of a model on the paper's prompt; without `confirm`, by magnitude alone."""
    checkpoint = open_checkpoint(model, revision)
    tokenizer = Tokenizer.from_files(checkpoint.tokenizer_files(), model)
    found = find_outliers(checkpoint, tokenizer, progress, confirm=confirm)
    agreement = compare(checkpoint.source.recipe, found, checkpoint.spec)
    return Detection(model, checkpoint.source, checkpoint.spec, found, agreement)
