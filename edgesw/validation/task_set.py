"""TaskSet: items that both models answer, and the set of them that ships with edgesw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Literal

from edgesw.files.type_check import structure

KINDS = ("arithmetic", "copying", "retrieval", "choice", "completion", "format")
"""The kinds of the set that ships."""
Compare = Literal["text", "number", "last number", "word", "json", "pattern"]
EACH = 12
"""How many items of each kind of the set that ships are asked, unless all are."""


@dataclass(frozen=True)
class Task:
    """One item: what is asked, and which answers are right."""

    id: str
    prompt: str
    answers: tuple[str, ...]
    compare: Compare | None = None
    """None: as its part says."""
    pattern: str = ""
    """A regular expression that the whole answer must match; `answers` are then examples."""
    needle: str = ""
    """The sentence of a long context that has the answer."""
    check: str = ""
    """How the answer follows from the prompt, for tests that recompute it."""


@dataclass(frozen=True)
class Part:
    """Items of a kind that are asked in the same way, after the same examples."""

    kind: str
    compare: Compare
    question: str
    """How an item is put, with `{prompt}` in it. The answer follows after a space."""
    examples: tuple[tuple[str, str], ...] = ()
    """Prompts and answers that come before every item's, in a chat as earlier turns."""
    chat: bool = False
    """Whether items are put in the model's chat template, where it has one."""
    tokens: int = 0
    """The longest answer; 0: as long as the right one, and a little more."""
    end: str = "\n"
    """What an answer ends before, once it has begun."""
    context: str = ""
    """A long context that comes first, with `{notes}` in it: needles among `distractors` and `facts`."""
    facts: tuple[str, ...] = ()
    """The needles of the examples."""
    distractors: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()

    def compare_of(self, task: Task) -> Compare:
        return task.compare or self.compare


@dataclass(frozen=True)
class TaskSet:
    """Items in parts, and the name of the set in reports."""

    name: str
    parts: tuple[Part, ...]

    @property
    def tasks(self) -> list[Task]:
        return [task for part in self.parts for task in part.tasks]


def shipped_tasks(each: int | None = EACH) -> TaskSet:
    """The set that was written for this project: `each` items of each kind, spread over it, or all for None."""
    folder = files("edgesw.text").joinpath("data", "tasks")
    parts = [part for kind in KINDS for part in _parts(folder.joinpath(f"{kind}.jsonl").read_text(encoding="utf-8"))]
    if each is not None:
        every = {kind: [task for part in parts if part.kind == kind for task in part.tasks] for kind in KINDS}
        kept = {task.id for tasks in every.values() for task in _spread(tasks, each)}
        parts = [replace(part, tasks=tuple(task for task in part.tasks if task.id in kept)) for part in parts]
    return TaskSet("shipped tasks", tuple(part for part in parts if part.tasks))


def _spread(tasks: list[Task], count: int) -> list[Task]:
    count = min(count, len(tasks))
    return [tasks[at * len(tasks) // count] for at in range(count)]


def _parts(text: str) -> Iterator[Part]:
    """A line with a `question` begins a part; the items after it belong to it."""
    head: dict[str, Any] = {}
    tasks: list[Task] = []
    for line in [*text.splitlines(), '{"question": ""}']:
        value = json.loads(line)
        if "question" not in value:
            tasks.append(structure(Task, value))
            continue
        if tasks:
            yield replace(structure(Part, head), tasks=tuple(tasks))
        head, tasks = value, []
