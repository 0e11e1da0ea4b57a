"""The prompts of a task set for one model, as token ids: its chat template, and contexts that fill the package's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from edgesw.errors import UsageError
from edgesw.text.tokenizer import Tokenizer
from edgesw.validation.task_set import Part, Task, TaskSet

SHARES = (1 / 4, 1 / 2, 0.95)
"""How much of the context the long prompts fill."""
SPARE, MOST_TOKENS = 4, 24
"""An answer may have these tokens more than the longest right one, and these in all, unless its part says."""
_ROLES = ("user", "assistant")


@dataclass(frozen=True)
class Asked:
    """One item as a model gets it."""

    task: Task
    part: Part
    ids: tuple[int, ...]
    most: int
    """The longest answer, in tokens."""
    hint: tuple[int, ...]
    """The tokens of an accepted answer: a draft."""
    group: int
    """Items of a group begin alike and stand one after the other."""


@dataclass(frozen=True)
class Prompts:
    """All items of a set that fit a model."""

    asked: tuple[Asked, ...]
    skipped: tuple[str, ...]
    """The ids of the items that are longer than the context."""
    in_chat: bool
    """Whether the parts that are meant for it were put in a chat template."""


class _Maker:
    def __init__(self, tokenizer: Tokenizer, context: int, chat: bool) -> None:
        self.tokenizer, self.context, self.chat = tokenizer, context, chat
        self.group = 0

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def ask(self, part: Part, task: Task, notes: str = "") -> Asked:
        hints = [tuple(self.encode(f" {answer}{part.end}")) for answer in task.answers]
        most = part.tokens or min(MOST_TOKENS, max(map(len, hints)) + SPARE)
        if part.chat and self.chat:
            # A rendered chat has its special tokens already.
            turns = [*(turn for example in part.examples for turn in example), task.prompt]
            messages = [{"role": _ROLES[at % 2], "content": turn} for at, turn in enumerate(turns)]
            ids = self.encode(self.tokenizer.chat_prompt(messages))
            hints = [tuple(self.encode(task.answers[0])) + self.tokenizer.eos_ids[:1]]
        else:
            before = [f"{_put(part, prompt)} {answer}" for prompt, answer in part.examples]
            opening = [part.context.replace("{notes}", notes)] if part.context else []
            text = "\n\n".join([*opening, *before, _put(part, task.prompt)])
            ids = [*self.tokenizer.prefix_ids, *self.encode(text)]
        return Asked(task, part, tuple(ids), most, hints[0], self.group)

    def fits(self, asked: Asked) -> bool:
        return len(asked.ids) + asked.most <= self.context


def make_prompts(tasks: TaskSet, tokenizer: Tokenizer, context: int, long: int) -> Prompts:
    """The items of a set for a model whose package holds `context` tokens. Long contexts fill SHARES of at most `long`
    tokens. A chat template that refuses a question is left out, as if the model had none."""
    chat = tokenizer.chat_template is not None and _takes_questions(tokenizer)
    maker = _Maker(tokenizer, context, chat)
    asked: list[Asked] = []
    for part in tasks.parts:
        asked += _long(maker, part, min(context, long)) if part.context else _short(maker, part)
    fitting = tuple(each for each in asked if maker.fits(each))
    kept = {each.task.id for each in fitting}
    skipped = tuple(task.id for task in tasks.tasks if task.id not in kept)
    return Prompts(fitting, skipped, chat and any(part.chat for part in tasks.parts))


def _put(part: Part, prompt: str) -> str:
    return part.question.replace("{prompt}", prompt)


def _takes_questions(tokenizer: Tokenizer) -> bool:
    try:
        turns = [{"role": role, "content": "Yes."} for role in (*_ROLES, _ROLES[0])]
        return bool(tokenizer.chat_prompt(turns).strip())
    except UsageError:
        return False


def _short(maker: _Maker, part: Part) -> list[Asked]:
    maker.group += 1
    return [maker.ask(part, task) for task in part.tasks]


def _long(maker: _Maker, part: Part, context: int) -> Iterator[Asked]:
    """The items in turn at each share of the context; those of a share are asked about the same notes, as many as fit
    with distractors for at least half of them."""
    for at, share in enumerate(SHARES):
        room = int(share * context)
        waiting = list(part.tasks[at :: len(SHARES)])
        while waiting:
            tasks = _that_fit(maker, part, waiting, room)
            waiting = waiting[len(tasks) :]
            maker.group += 1
            yield from _filled(maker, part, tasks, room)


def _that_fit(maker: _Maker, part: Part, tasks: list[Task], room: int) -> list[Task]:
    """As many of the first tasks as leave half of the room to distractors, at least one."""
    left = (room - len(maker.ask(part, tasks[0], " ".join(part.facts)).ids)) / 2
    for at, task in enumerate(tasks):
        left -= len(maker.encode(f" {task.needle}"))
        if left < 0:
            return tasks[: max(at, 1)]
    return tasks


def _filled(maker: _Maker, part: Part, tasks: list[Task], room: int) -> list[Asked]:
    """The tasks, each about notes with all their needles, and with distractors to as many tokens as there is room."""
    needles = [*part.facts, *(task.needle for task in tasks)]
    longest = max(tasks, key=lambda task: sum(map(len, (task.prompt, *task.answers))))

    def over(count: int) -> int:
        made = maker.ask(part, longest, _notes(part, needles, count))
        return len(made.ids) + made.most - room

    each = [len(maker.encode(f" {sentence}")) for sentence in part.distractors]
    count = int(max(-over(0), 0) / (sum(each) / len(each)))
    while count and (much := over(count)) > 0:
        count -= max(1, much // max(each))
    count = max(count, 0)
    return [maker.ask(part, task, _notes(part, needles, count)) for task in tasks]


def _notes(part: Part, needles: list[str], count: int) -> str:
    return " ".join(_mixed(list(islice(cycle(part.distractors), count)), needles))


def _mixed(distractors: Sequence[str], needles: Sequence[str]) -> list[str]:
    """The needles spread evenly among the distractors: the first near the beginning, the last near the end."""
    places = [round((at + 0.5) / len(needles) * len(distractors)) for at in range(len(needles))]
    mixed: list[str] = []
    for at in range(len(distractors) + 1):
        mixed += [needle for needle, place in zip(needles, places, strict=True) if place == at]
        mixed += distractors[at : at + 1]
    return mixed
