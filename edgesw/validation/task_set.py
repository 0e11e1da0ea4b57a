"""TaskSet: what `validate --tasks` asks, from the set that ships with edgesw or from a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from edgesw.errors import UsageError
from edgesw.files.json_file import parse_json
from edgesw.files.type_check import structure
from edgesw.validation.answers import is_right

KINDS = ("arithmetic", "copying", "retrieval", "choice", "completion", "format")
"""The kinds of the set that ships."""
Compare = Literal["text", "number", "last number", "word", "json", "pattern"]
EACH = 12
"""How many items of each kind of the set that ships are asked, unless all are."""
OWN_COMPARES = ("text", "number", "last number", "word", "json")
"""What a file of one's own may ask for: a regular expression from elsewhere can run for ever."""
MOST_BYTES, MOST_ITEMS, MOST_CHARACTERS = 16 << 20, 2000, 20_000
"""The bounds of a file: its bytes, its items, and the characters of a prompt."""
REASONING_TOKENS = 128
"""The longest answer to an item whose answer is the last number of a text."""


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
    """How the answer follows from the prompt, for tests that compute it anew."""


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


def load_tasks(name: str) -> TaskSet:
    """A file of JSON Lines with a `question` (or `prompt`) and an `answer` (or a list of `answers`) in each, and where
    it is meant a `compare` and an `id`. An answer with `####` before a number, as GSM8K has them, asks for that number
    as the last one of the text.

    UsageError for a file that cannot be read or is too large, and for a line that is not such an item.
    """
    path = Path(name)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"--tasks '{name}' is larger than {MOST_BYTES >> 20} MB: give fewer items.")
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"--tasks '{name}': {error.strerror}. Give a file of JSON Lines.") from error
    tasks: list[Task] = []
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if len(tasks) == MOST_ITEMS:
            raise UsageError(f"--tasks '{name}' has more than {MOST_ITEMS} items: give fewer.")
        try:
            task = _own(line, f"{path.stem}-{number}")
            if task.id in seen:
                raise ValueError(f"the id '{task.id}' is taken: give each item one of its own")
        except ValueError as error:
            raise UsageError(f"--tasks '{name}', line {number}: {error}.") from error
        seen.add(task.id)
        tasks.append(task)
    if not tasks:
        raise UsageError(f"--tasks '{name}' has no item: give JSON Lines with 'question' and 'answer'.")
    return TaskSet(path.name, tuple(_own_parts(path.stem, tasks)))


def _own_parts(kind: str, tasks: list[Task]) -> Iterable[Part]:
    for reasoned in (False, True):
        if own := tuple(task for task in tasks if (task.compare == "last number") == reasoned):
            yield Part(
                kind, "text", "Question: {prompt}\nAnswer:", chat=True, tokens=REASONING_TOKENS if reasoned else 0,
                end="\nQuestion:" if reasoned else "\n", tasks=own,
            )  # fmt: skip


def _own(line: bytes, name: str) -> Task:
    """One line of a file. ValueError names the field that is wrong."""
    try:
        value = parse_json(line)
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error}): write one object a line") from error
    if not isinstance(value, dict):
        raise ValueError('it is not an object: write {"question": ..., "answer": ...}')
    prompt = _field(value, "question", "prompt", str)
    if not prompt.strip() or len(prompt) > MOST_CHARACTERS:
        raise ValueError(f"'question' must have between 1 and {MOST_CHARACTERS:,} characters")
    answers = [value["answer"]] if "answer" in value else _field(value, "answers", "answers", list)
    answers = [str(each) if type(each) in (int, float) else each for each in answers]
    if not answers or not all(
        isinstance(each, str) and each.strip() and len(each) <= MOST_CHARACTERS for each in answers
    ):
        raise ValueError("'answer' must be a text or a number, or 'answers' a list of them")
    compare = value.get("compare", "last number" if all("####" in each for each in answers) else "text")
    if compare not in OWN_COMPARES:
        raise ValueError(f"'compare' must be one of {', '.join(OWN_COMPARES)}")
    answers = [each.rpartition("####")[2].strip() for each in answers]
    own = value.get("id", name)
    if not isinstance(own, str) or not 0 < len(own) <= 100:
        raise ValueError("'id' must be a text of at most 100 characters")
    return checked(Task(own, prompt, tuple(answers), compare))


def _field(value: dict[str, Any], name: str, other: str, kind: type) -> Any:
    found = value.get(name, value.get(other))
    if found is None:
        raise ValueError(f"'{name}' is missing")
    if not isinstance(found, kind):
        raise ValueError(f"'{name}' must be a {'text' if kind is str else 'list'}")
    return found


def checked(task: Task) -> Task:
    """The task. ValueError where an accepted answer would not be accepted."""
    assert task.compare is not None
    for answer in task.answers:
        if not is_right(answer, task, task.compare):
            raise ValueError(f"'answer' is not what 'compare' takes: '{answer[:40]}' has no {task.compare}")
    return task
