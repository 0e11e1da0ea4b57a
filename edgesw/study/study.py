"""The paper's experiments (arXiv 2411.07191) by name, on any model and text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.checkpoint.source import plain_name
from edgesw.errors import CheckpointError, EdgeswError, UsageError
from edgesw.outliers.detect import find_outliers
from edgesw.progress import Progress
from edgesw.study import activations, blocks, prune, scale, stopwords
from edgesw.study.evaluation import Evaluation
from edgesw.study.result import Findings, StudyResult
from edgesw.text.texts import Text, windows
from edgesw.text.token_ids import check_ids
from edgesw.text.tokenizer import Tokenizer

EXPERIMENTS: dict[str, tuple[str, Callable[[Evaluation, Tokenizer], Findings]]] = {
    "prune": (prune.TITLE, lambda evaluation, _: prune.run(evaluation)),
    "scale": (scale.TITLE, lambda evaluation, _: scale.run(evaluation)),
    "stopwords": (stopwords.TITLE, stopwords.run),
    "blocks": (blocks.TITLE, lambda evaluation, _: blocks.run(evaluation)),
    "activations": (activations.TITLE, lambda evaluation, _: activations.run(evaluation)),
}
"""Name -> title and the function that runs it."""


def study(
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    experiments: Iterable[str],
    text: Text,
    *,
    count: int,
    tokens: int,
    progress: Progress,
) -> Iterator[StudyResult]:
    """Runs `experiments` one after the other over `count` windows of `tokens` tokens of the text.

    Raises EdgeswError for a model without super weights, UsageError for a text that is too short, CheckpointError for a
    tokenizer that does not belong to the model.
    """
    spec, source = checkpoint.spec, checkpoint.source
    ids = windows(text, tokenizer, count, min(tokens, spec.max_positions))
    check_ids(ids, spec.vocab_size, tokenizer, text.name, CheckpointError if text.shipped else UsageError)
    outliers = find_outliers(checkpoint, tokenizer, progress)
    if not outliers.super_weights:
        raise EdgeswError(
            f"detection finds no super weights in '{source.name}', so there is nothing to study: try another model, "
            "such as smollm2-135m."
        )
    evaluation = Evaluation(spec, checkpoint, ids, outliers, progress)
    for name in experiments:
        title, run = EXPERIMENTS[name]
        yield StudyResult(
            experiment=name,
            title=title,
            model=plain_name(source.name) if source.is_local else source.name,
            origin=source.origin,
            revision=source.revision,
            text=text.name,
            text_sha256=text.sha256,
            windows=ids.shape[0],
            tokens=ids.shape[1],
            super_weights=tuple(evaluation.coordinates),
            findings=run(evaluation, tokenizer),
        )
