"""Detection as users meet it: a checkpoint and its tokenizer in, super outliers out."""

from __future__ import annotations

import numpy as np

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.errors import CheckpointError
from edgesw.outliers.detect import PROMPT, detect
from edgesw.outliers.found import SuperOutliers
from edgesw.progress import Progress
from edgesw.tokenizer import Tokenizer


def find_outliers(
    checkpoint: Checkpoint, tokenizer: Tokenizer, progress: Progress, *, confirm: bool = True
) -> SuperOutliers:
    """Detection on the paper's prompt; without `confirm`, by magnitude alone.

    CheckpointError when the tokenizer is another model's.
    """
    ids = np.array(tokenizer.encode(PROMPT, bos=False))
    check_ids(ids, checkpoint)
    layers = checkpoint.spec.layers
    return detect(
        checkpoint.spec,
        checkpoint,
        ids,
        lambda stage, layer: progress("Finding super weights", f"{stage}, layer {layer}", layer, layers),
        confirm=confirm,
    )


def check_ids(ids: np.ndarray, checkpoint: Checkpoint) -> None:
    """CheckpointError for token ids that the model has no embedding for.

    A tokenizer may know more tokens than the model has, as long as they do not occur in text.
    """
    if ids.max(initial=0) >= checkpoint.spec.vocab_size:
        raise CheckpointError(
            f"{checkpoint.source.path}: the tokenizer gives token {ids.max()} and the model has "
            f"{checkpoint.spec.vocab_size}: they do not belong together. Download both again."
        )
