"""Task sets by name: the one that ships, some or all of it, or a file of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgesw.errors import UsageError
from edgesw.files.json_file import parse_json
from edgesw.validation.answers import is_right
from edgesw.validation.task_set import Part, Task, TaskSet, shipped_tasks

OWN_COMPARES = ("text", "number", "last number", "word", "json")
"""What a file of one's own may ask for: a regular expression from elsewhere can run for ever."""
MOST_BYTES, MOST_ITEMS, MOST_CHARACTERS = 16 << 20, 2000, 20_000
"""The bounds of a file: its bytes, its items, and the characters of a prompt."""
REASONING_TOKENS = 128
"""The longest answer to an item whose answer is the last number of a text."""


def find_tasks(name: str) -> TaskSet:
    """Some of the set that ships for `some`, all of it for `all`, else a file. Raises as `load_tasks`."""
    if name == "some":
        return shipped_tasks()
    return shipped_tasks(None) if name == "all" and not Path(name).exists() else load_tasks(name)


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


def _own_parts(kind: str, tasks: list[Task]) -> Iterator[Part]:
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
    return _checked(Task(own, prompt, tuple(answers), compare))


def _field(value: dict[str, Any], name: str, other: str, kind: type) -> Any:
    found = value.get(name, value.get(other))
    if found is None:
        raise ValueError(f"'{name}' is missing")
    if not isinstance(found, kind):
        raise ValueError(f"'{name}' must be a {'text' if kind is str else 'list'}")
    return found


def _checked(task: Task) -> Task:
    """The task. ValueError where an accepted answer would not be accepted."""
    assert task.compare is not None
    for answer in task.answers:
        if not is_right(answer, task, task.compare):
            raise ValueError(f"'answer' is not what 'compare' takes: '{answer[:40]}' has no {task.compare}")
    return task
