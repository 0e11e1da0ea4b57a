"""run_tasks: a package and its float model answer a task set, greedily."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.errors import PackageError, UsageError
from edgesw.progress import Progress
from edgesw.runtime.drafted import DraftedDecoder, Over
from edgesw.runtime.packaged_decoder import PackagedDecoder
from edgesw.text.token_ids import check_ids
from edgesw.text.tokenizer import Tokenizer
from edgesw.validation.answers import cut, is_right
from edgesw.validation.ends import Ends
from edgesw.validation.float_answers import Answers, cached_answers, float_answers, keep_answers
from edgesw.validation.task_prompts import Asked, make_prompts
from edgesw.validation.task_report import Answered, TaskReport
from edgesw.validation.task_set import TaskSet

LONG = 1024
"""The most tokens of the long contexts, however many the package holds: it bounds the time."""


def run_tasks(
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    decoders: Mapping[str, PackagedDecoder],
    tasks: TaskSet,
    progress: Progress,
    *,
    long: int = LONG,
) -> TaskReport:
    """Asks the float model and each decoder of a package all items of `tasks` that fit the package's context. Items of
    long contexts fill shares of at most `long` tokens of it.

    The float model's answers are cached. PackageError for a tokenizer that is not the model's, UsageError if no item
    fits.
    """
    context = min(decoder.context for decoder in decoders.values())
    prompts = make_prompts(tasks, tokenizer, context, long)
    asked = prompts.asked
    if not asked:
        raise UsageError(f"{tasks.name}: no item fits the package's {context} tokens: convert with a larger --context.")
    for one in asked:
        where = f"the task '{one.task.id}'"
        check_ids(one.ids, checkpoint.spec.vocab_size, tokenizer, where, PackageError)
    stop = tokenizer.eos_ids
    exact, path = cached_answers(checkpoint, asked, stop)
    cached, seconds = exact is not None, dict[str, float]()
    drafted = {name: DraftedDecoder(decoder) for name, decoder in decoders.items()}
    found: dict[str, Answers] = {}

    ends = {part.end: Ends(tokenizer, part.end) for part in tasks.parts}

    def over(one: Asked) -> Over:
        return ends[one.part.end]

    def answer(name: str, drafts: Sequence[Sequence[int]]) -> None:
        began, answers = time.process_time(), []
        for at, (one, draft) in enumerate(zip(asked, drafts, strict=True)):
            progress("Tasks", f"{name}, {one.part.kind}", at, len(asked))
            answers.append(drafted[name].continued(one.ids, one.most, stop, draft, over(one)))
        found[name], seconds[name] = answers, time.process_time() - began

    first = _fastest(drafted, asked[0].ids)
    answer(first, [one.hint for one in asked] if exact is None else exact)
    began = time.process_time()
    if exact is None:
        exact = float_answers(
            checkpoint, asked, [list(ids) for ids in found[first]], drafted[first], stop, over,
            lambda done: progress("Tasks", "float model", done, len(asked)),
        )  # fmt: skip
        keep_answers(path, exact)
    seconds["float"] = time.process_time() - began
    for name in decoders:
        if name != first:
            answer(name, found[first])  # two targets of a package are nearer to each other than to the float model
    texts = {name: _texts(tokenizer, asked, found[name]) for name in decoders}
    return TaskReport(
        tasks.name,
        tuple(
            _answered(one, text, {name: texts[name][at] for name in decoders})
            for at, (one, text) in enumerate(zip(asked, _texts(tokenizer, asked, exact), strict=True))
        ),
        {name: decoder.runtime for name, decoder in decoders.items()},
        prompts.skipped,
        prompts.in_chat,
        max(len(one.ids) for one in asked),
        seconds,
        cached,
    )


def _fastest(drafted: Mapping[str, DraftedDecoder], ids: Sequence[int]) -> str:
    """The decoder that drafts the float model's answers."""
    if len(drafted) == 1:
        return next(iter(drafted))
    took = {}
    for name, each in drafted.items():
        each.decoder.reset()
        each.decoder.step(np.array(ids[:1]))  # the first call decodes weights
        began = time.perf_counter()
        each.decoder.step(np.array(ids[:1]))
        took[name] = time.perf_counter() - began
        each.decoder.reset()
    return min(took, key=lambda name: took[name])


def _texts(tokenizer: Tokenizer, asked: Sequence[Asked], answers: Answers) -> list[str]:
    decoded = tokenizer.decode_each(answers)
    return [cut(text, one.part.end) for one, text in zip(asked, decoded, strict=True)]


def _answered(one: Asked, float_text: str, texts: dict[str, str]) -> Answered:
    compare = one.part.compare_of(one.task)
    right = {name: is_right(text, one.task, compare) for name, text in texts.items()}
    return Answered(one.task.id, one.part.kind, float_text, is_right(float_text, one.task, compare), texts, right)
