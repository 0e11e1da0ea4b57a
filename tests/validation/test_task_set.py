"""The task set that ships: its answers are right, recomputed where possible, and its items occur nowhere else."""

from __future__ import annotations

import ast
import json
import operator
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from edgesw.errors import UsageError
from edgesw.text.texts import shipped_text
from edgesw.validation import task_file
from edgesw.validation.answers import cut, is_right
from edgesw.validation.task_file import find_tasks, load_tasks
from edgesw.validation.task_set import KINDS, Task, shipped_tasks

ALL = shipped_tasks(None)
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def of_kind(kind: str) -> list[Task]:
    return [task for part in ALL.parts if part.kind == kind for task in part.tasks]


def value(expression: str) -> float:
    def walk(node: ast.expr) -> float:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](walk(node.left), walk(node.right))
        assert isinstance(node, ast.Constant)
        return node.value

    return walk(ast.parse(expression, mode="eval").body)


def test_there_are_forty_items_of_each_of_six_kinds() -> None:
    """Fewer, and an interval of a kind says nothing."""
    counts = Counter(part.kind for part in ALL.parts for _ in part.tasks)
    assert set(counts) == set(KINDS) and min(counts.values()) >= 40 and sum(counts.values()) >= 240


def test_ids_and_prompts_are_unique() -> None:
    """An item that is asked twice counts twice."""
    assert len({task.id for task in ALL.tasks}) == len({task.prompt for task in ALL.tasks}) == len(ALL.tasks)
    assert all(task.id.startswith(part.kind) for part in ALL.parts for task in part.tasks)
    assert {path.name for path in files("edgesw.text").joinpath("data", "tasks").iterdir()} == {
        f"{kind}.jsonl" for kind in KINDS
    }


def test_sums_are_right() -> None:
    """A wrong answer in the set would count right ones as lost."""
    for task in of_kind("arithmetic"):
        assert task.answers == (str(int(value(task.check))),) and value(task.check) == int(value(task.check)), task.id
        numbers = Counter(re.findall(r"\d+", task.check))
        written = Counter(re.findall(r"\d+", task.prompt))
        written += Counter(str(WORDS.index(word)) for word in re.findall(r"\w+", task.prompt.lower()) if word in WORDS)
        missing = numbers - written
        assert not missing or (set(missing) == {"2"} and "half" in task.prompt), task.id


def test_lists_are_copied_reversed_and_sorted_rightly() -> None:
    does = {
        "copy": list,
        "reverse": lambda words: words[::-1],
        "alphabet": lambda words: sorted(words, key=str.lower),
        "smallest": lambda words: sorted(words, key=int),
    }
    for task in of_kind("copying"):
        words = task.prompt.split(": ")[1].split(", ")
        assert task.answers == (", ".join(does[task.check](words)),), task.id
    assert Counter(task.check for task in of_kind("copying")) == dict.fromkeys(does, 11)


def test_needles_hold_their_answers_and_distractors_do_not() -> None:
    """Else the answer is nowhere, or in two places."""
    part = next(part for part in ALL.parts if part.context)
    for task in part.tasks:
        assert task.answers[0] in task.needle and not any(task.answers[0] in sentence for sentence in part.distractors)
        assert sum(task.needle == other.needle for other in part.tasks) == 1
    for (_, answer), fact in zip(part.examples, part.facts, strict=True):
        assert answer in fact


def test_choices_are_four_and_the_right_letters_are_spread() -> None:
    """A model that always says B must not look clever."""
    letters = Counter()
    for task in of_kind("choice"):
        assert re.fullmatch(r".+[?] A\) .+ B\) .+ C\) .+ D\) .+", task.prompt), task.id
        letters[task.answers[0]] += 1
    assert set(letters) == set("ABCD") and max(letters.values()) <= 14


def test_every_accepted_answer_is_accepted() -> None:
    """So the JSON parses, and the patterns match their examples, with and without a full line after them."""
    for part in ALL.parts:
        for task in part.tasks:
            for answer in task.answers:
                assert is_right(cut(f" {answer}\nand so on", part.end), task, part.compare_of(task)), task.id
            assert not is_right("", task, part.compare_of(task))
            assert not is_right("I do not know", task, part.compare_of(task)), task.id
        for prompt, answer in part.examples:
            assert prompt not in {task.prompt for task in part.tasks} and answer
    json_items = [task for part in ALL.parts if part.compare == "json" for task in part.tasks]
    assert len(json_items) == 22 and all(isinstance(json.loads(task.answers[0]), dict) for task in json_items)


def test_no_prompt_is_in_the_texts_that_ship() -> None:
    """What is compressed for, or measured, must not be asked again: eight words in a row are no accident."""
    for name in ("calibration", "validation"):
        words = re.findall(r"\w+", shipped_text(name).content.lower())
        runs = {tuple(words[at : at + 8]) for at in range(len(words) - 7)}
        sentences = [task.prompt for task in ALL.tasks] + [task.needle for task in ALL.tasks]
        sentences += [sentence for part in ALL.parts for sentence in part.distractors]
        for sentence in sentences:
            own = re.findall(r"\w+", sentence.lower())
            assert not any(tuple(own[at : at + 8]) in runs for at in range(len(own) - 7)), sentence


def test_a_part_of_the_set_is_spread_over_each_kind() -> None:
    some = shipped_tasks(20)
    assert Counter(part.kind for part in some.parts for _ in part.tasks) == dict.fromkeys(KINDS, 20)
    assert {task.id for task in some.tasks} < {task.id for task in ALL.tasks}
    assert find_tasks("all") == ALL and {task.id for task in find_tasks("some").tasks} < {task.id for task in ALL.tasks}


@pytest.mark.parametrize(
    ("compare", "accepted", "answer", "right"),
    [
        ("text", "a, b", "a, b.", True),
        ("text", "a, b", "A, b", False),
        ("number", "1200", "It is 1,200 now, not 3", True),
        ("number", "12", "12.5", False),
        ("number", "-3", "−3", True),
        ("number", "12", "twelve", False),
        ("last number", "42", "6 times 7 makes 42.", True),
        ("last number", "42", "42 or 43", False),
        ("word", "B", "b) dog", True),
        ("word", "B", "Because", False),
        ("json", '{"a": 1, "b": [true]}', '{"b":[true],"a":1.0} and so on', True),
        ("json", '{"a": 1}', '{"a": true}', False),
        ("json", '{"a": 1}', '{"a": 1', False),
        ("json", "[1]", "[" * 3000, False),
    ],
)
def test_answers_are_compared_as_the_item_says(compare: str, accepted: str, answer: str, right: bool) -> None:
    assert is_right(answer, Task("t", "p", (accepted,)), compare) is right  # type: ignore[arg-type]


def test_a_long_answer_is_not_matched_with_a_pattern() -> None:
    task = Task("t", "p", ("a",), "pattern", pattern="a+")
    assert is_right("a" * 200, task, "pattern") and not is_right("a" * 201, task, "pattern")


# --- files of one's own ----------------------------------------------------------------------------------------------


def test_a_file_like_gsm8k_asks_for_the_last_number(tmp_path: Path) -> None:
    file = tmp_path / "gsm.jsonl"
    file.write_text(
        '{"question": "How much is 6 times 7?", "answer": "6 * 7 = <<6*7=42>>42\\n#### 42"}\n\n'
        '{"prompt": "Name a colour.", "answers": ["red", "blue"], "compare": "word", "id": "colour"}\n'
        '{"question": "How many?", "answer": 1200, "compare": "number"}\n'
    )
    loaded = load_tasks(str(file))
    by_id = {task.id: task for task in loaded.tasks}
    assert set(by_id) == {"gsm-1", "colour", "gsm-4"} and loaded.name == "gsm.jsonl"
    assert by_id["gsm-1"].answers == ("42",) and by_id["gsm-1"].compare == "last number"
    assert by_id["colour"].answers == ("red", "blue") and by_id["gsm-4"].answers == ("1200",)
    reasoned = next(part for part in loaded.parts if part.compare_of(part.tasks[0]) == "last number")
    assert all(part.chat for part in loaded.parts) and reasoned.tokens == task_file.REASONING_TOKENS


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("not json", "it is not JSON"),
        ("[" * 2000, "it is not JSON"),
        ("[1]", "it is not an object"),
        ('{"answer": "1"}', "'question' is missing"),
        ('{"question": "a"}', "'answers' is missing"),
        ('{"question": 7, "answer": "1"}', "'question' must be a text"),
        ('{"question": " ", "answer": "1"}', "'question' must have"),
        ('{"question": "' + "a" * 20_001 + '", "answer": "1"}', "'question' must have"),
        ('{"question": "a", "answer": null}', "'answer' must be a text"),
        ('{"question": "a", "answer": ""}', "'answer' must be a text"),
        ('{"question": "a", "answer": true}', "'answer' must be a text"),
        ('{"question": "a", "answers": "b"}', "'answers' must be a list"),
        ('{"question": "a", "answers": []}', "'answer' must be a text"),
        ('{"question": "a", "answer": "b", "compare": "pattern", "pattern": "(a+)+b"}', "'compare' must be one of"),
        ('{"question": "a", "answer": "b", "compare": ["text"]}', "'compare' must be one of"),
        ('{"question": "a", "answer": "b", "compare": "number"}', "'b' has no number"),
        ('{"question": "a", "answer": "#### many"}', "'many' has no last number"),
        ('{"question": "a", "answer": "b", "id": 3}', "'id' must be"),
        ('{"question": "a", "answer": "b", "id": "first"}', "'first' is taken"),
    ],
)
def test_a_wrong_line_is_named(line: str, said: str, tmp_path: Path) -> None:
    """In a file of thousands, nobody finds it otherwise."""
    file = tmp_path / "own.jsonl"
    file.write_text('{"question": "q", "answer": "1", "id": "first"}\n' + line + "\n")
    with pytest.raises(UsageError) as raised:
        load_tasks(str(file))
    assert "line 2: " in str(raised.value) and said in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").write_text("\n\n")
    (tmp_path / "large").write_text('{"question": "q", "answer": "1"}\n' * 10)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name, said in {"absent": "No such file", "empty": "has no item", "bytes": "line 1", ".": "directory"}.items():
        with pytest.raises(UsageError, match=said):
            load_tasks(str(tmp_path / name))
    monkeypatch.setattr(task_file, "MOST_ITEMS", 3)
    with pytest.raises(UsageError, match="more than 3 items"):
        load_tasks(str(tmp_path / "large"))
    monkeypatch.setattr(task_file, "MOST_BYTES", 100)
    with pytest.raises(UsageError, match="larger than"):
        load_tasks(str(tmp_path / "large"))
