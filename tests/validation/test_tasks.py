"""`run_tasks`: what both models answer, beside transformers' own greedy search, and what is counted."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tiny import TEMPLATE
from tokenizers import Tokenizer as Backend

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.errors import UsageError
from edgesw.package.manifest import read_manifest
from edgesw.runtime.onnx import OnnxDecoder
from edgesw.runtime.packaged_decoder import PackagedDecoder
from edgesw.targets.registry import open_decoder
from edgesw.text.tokenizer import Tokenizer
from edgesw.validation import float_answers, float_cache, tasks
from edgesw.validation.answers import cut
from edgesw.validation.task_prompts import SHARES, make_prompts
from edgesw.validation.task_report import COLUMNS, Answered, Paired, Share, TaskReport, Z
from edgesw.validation.task_set import Part, Task, TaskSet, shipped_tasks
from edgesw.validation.tasks import run_tasks


def quiet(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def decoders(tiny_package: Path) -> dict[str, PackagedDecoder]:
    manifest = read_manifest(tiny_package)
    return {target: open_decoder(tiny_package, manifest, target) for target in manifest.models}


@pytest.fixture(scope="module")
def report(tiny_llama: Path, tokenizer: Tokenizer, decoders: dict[str, PackagedDecoder]) -> TaskReport:
    return run_tasks(open_checkpoint(str(tiny_llama)), tokenizer, decoders, shipped_tasks(2), quiet, long=512)


def written_by(model: Any, prompt: list[int], most: int, eos: int) -> list[int]:
    """transformers' own greedy search, without the end."""
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False, eos_token_id=eos, pad_token_id=0
    )
    new = out[0, len(prompt) :].tolist()
    return new[: new.index(eos)] if eos in new else new


def test_the_float_model_answers_as_transformers_does(
    tiny_model: tuple[Path, Any], tokenizer: Tokenizer, report: TaskReport
) -> None:
    """The package drafts, rows share what they begin with, an answer ends at a line's end: none of it may change what
    the float model says, in plain prompts or in a chat."""
    folder, model = tiny_model
    backend = Backend.from_file(str(folder / "tokenizer.json"))
    prompts = make_prompts(shipped_tasks(2), tokenizer, 1024, 512)
    texts = {each.id: each.float_text for each in report.answers}
    assert len(prompts.asked) == len(texts) == 12 and report.in_chat and not report.skipped
    for one in prompts.asked:
        answer = backend.decode(written_by(model, list(one.ids), one.most, tokenizer.eos_ids[0]))
        assert texts[one.task.id] == cut(answer, one.part.end), one.task.id
    assert len(set(texts.values())) > 3, "answers that are all alike show nothing"


def test_prompts_are_those_of_transformers(tiny_llama: Path, tokenizer: Tokenizer) -> None:
    """A second BOS, or examples outside the template, and a model is asked in a way that it never saw."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tiny_llama)
    assert theirs.chat_template == TEMPLATE
    for one in make_prompts(shipped_tasks(2), tokenizer, 1024, 512).asked:
        if one.part.chat:
            turns = [turn for example in one.part.examples for turn in example] + [one.task.prompt]
            chat = [{"role": ("user", "assistant")[at % 2], "content": turn} for at, turn in enumerate(turns)]
            text = theirs.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            assert list(one.ids) == theirs(text, add_special_tokens=False).input_ids
        else:
            text = theirs.decode(one.ids, skip_special_tokens=True)
            assert list(one.ids) == theirs(text).input_ids
            assert text.endswith(one.part.question.replace("{prompt}", one.task.prompt))
            assert all(f" {answer}\n\n" in text for _, answer in one.part.examples)


@pytest.mark.parametrize(
    ("context", "long"),
    [(1024, 800), pytest.param(4096, 4096, marks=pytest.mark.slow), pytest.param(600, 2048, marks=pytest.mark.slow)],
)
def test_long_contexts_fill_their_shares(context: int, long: int, tokenizer: Tokenizer) -> None:
    """ "Retrieval from a long context" must be long, hold its needle once, and leave room for the answer."""
    (part,) = [part for part in shipped_tasks(None).parts if part.context]
    prompts = make_prompts(TaskSet("long", (part,)), tokenizer, context, long)
    room = min(context, long)
    assert not prompts.skipped and len(prompts.asked) == 45
    for at, share in enumerate(SHARES):
        own = [one for one in prompts.asked if one.task in part.tasks[at :: len(SHARES)]]
        assert len(own) == 15
        for one in own:
            assert len(one.ids) + one.most <= context
            assert share * room - 80 < len(one.ids) + one.most <= share * room or share * room < 400
            text = tokenizer.decode(one.ids)
            assert text.count(one.task.needle) == 1 and all(fact in text for fact in part.facts)


def test_what_does_not_fit_is_skipped_and_said(
    tiny_llama: Path, tokenizer: Tokenizer, decoders: dict[str, PackagedDecoder]
) -> None:
    prompts = make_prompts(shipped_tasks(2), tokenizer, 150, 2048)
    assert prompts.skipped and {one.task.id for one in prompts.asked}.isdisjoint(prompts.skipped)
    assert all(len(one.ids) + one.most <= 150 for one in prompts.asked)
    long = TaskSet("long", (Part("own", "text", "{prompt}", tasks=(Task("a", "word " * 2000, ("b",)),)),))
    with pytest.raises(UsageError, match="no item fits"):
        run_tasks(open_checkpoint(str(tiny_llama)), tokenizer, decoders, long, quiet)


def test_a_model_without_a_template_gets_plain_prompts(tiny_llama: Path) -> None:
    files = {name: (tiny_llama / name).read_bytes() for name in ("tokenizer.json",)}
    plain = make_prompts(shipped_tasks(2), Tokenizer.from_files(files), 1024, 512)
    assert not plain.in_chat and len(plain.asked) == 12
    refusing = b'{"chat_template": "{{ raise_exception(\'no\') }}"}'
    refused = make_prompts(
        shipped_tasks(2), Tokenizer.from_files({**files, "tokenizer_config.json": refusing}), 1024, 512
    )
    assert not refused.in_chat and [one.ids for one in refused.asked] == [one.ids for one in plain.asked]


def as_answered(checkpoint: Checkpoint, tokenizer: Tokenizer, decoder: PackagedDecoder) -> TaskSet:
    """A set whose right answers are what the float model says."""
    plain = [part for part in shipped_tasks(4).parts if not part.context]
    parts = [replace(part, compare="text", tokens=10, tasks=tuple(map(bare, part.tasks))) for part in plain]
    found = run_tasks(checkpoint, tokenizer, {"onnx": decoder}, TaskSet("own", tuple(parts)), quiet)
    said = {each.id: each.float_text for each in found.answers if each.float_text.rstrip(". ")}
    kept = [replace(part, tasks=tuple(bare(t, said[t.id]) for t in part.tasks if t.id in said)) for part in parts]
    return TaskSet("as answered", tuple(part for part in kept if part.tasks))


def bare(task: Task, answer: str = "x") -> Task:
    return Task(task.id, task.prompt, (answer,))


def ruined(package: Path, path: Path) -> Path:
    """A copy of the package's ONNX model with the scales of one layer doubled."""
    model = onnx.load(package / "model.onnx")
    changed = 0
    for tensor in model.graph.initializer:
        if tensor.name.startswith("layers.1.") and tensor.name.endswith(".scales_stored"):
            values = onnx.numpy_helper.to_array(tensor)
            assert values.dtype in (np.float16, np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(2 * values, tensor.name))
            changed += 1
    assert changed
    onnx.save(model, path)
    return path


def test_a_ruined_package_loses_right_answers(
    tiny_llama: Path, tiny_package: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """One layer's scales doubled: the model still writes text, and short checks of it pass."""
    manifest = read_manifest(tiny_package)
    pair = {
        "good": open_decoder(tiny_package, manifest, "onnx"),
        "ruined": OnnxDecoder(ruined(tiny_package, tmp_path / "ruined.onnx"), manifest.context),
    }
    checkpoint = open_checkpoint(str(tiny_llama))
    asked = as_answered(checkpoint, tokenizer, pair["good"])
    found = run_tasks(checkpoint, tokenizer, pair, asked, quiet)
    everything = found.overall
    assert everything.items >= 8 and everything.float_right.share == 1
    good, bad = everything.targets["good"], everything.targets["ruined"]
    assert good.equal.share > 0.4 > 0.3 > bad.equal.share
    assert bad.lost > good.lost and bad.difference < good.difference and bad.interval[1] < 0 and bad.p_value < 0.05


def test_answers_of_the_float_model_are_kept(
    tiny_llama: Path, tokenizer: Tokenizer, decoders: dict[str, PackagedDecoder], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A second package of a model, or a second target, must not wait for it; and a damaged file is no answer."""
    monkeypatch.setattr(float_cache, "cache_folder", lambda: tmp_path)
    computed: list[int] = []
    compute = tasks.float_answers

    def counted(*given: Any) -> Any:
        computed.append(1)
        return compute(*given)

    monkeypatch.setattr(tasks, "float_answers", counted)
    asked = TaskSet("own", tuple(part for part in shipped_tasks(2).parts if part.kind == "choice"))

    def run(over: TaskSet = asked) -> tuple[bool, tuple[Answered, ...]]:
        computed.clear()
        only = {"onnx": decoders["onnx"]}
        made = run_tasks(open_checkpoint(str(tiny_llama)), tokenizer, only, over, quiet)
        assert made.float_cached is not bool(computed)
        return made.float_cached, made.answers

    cached, first = run()
    assert not cached and run() == (True, first)
    (kept,) = (tmp_path / "tasks").iterdir()
    whole = kept.read_text()
    for damaged in (
        whole[:-3],
        "[]",
        whole.replace("[[", "[[99999, ", 1),
        "[" * 9999,
        "{}",
        whole.replace("[[", "[[true, ", 1),
    ):
        kept.write_text(damaged)
        assert run() == (False, first), damaged[:20]
    one = TaskSet("own", (Part("choice", "word", "{prompt}", tasks=asked.parts[0].tasks),))
    assert not run(one)[0], "another way to ask is another answer"
    monkeypatch.setattr(float_answers, "KEPT", 1)
    asked = shipped_tasks(1)
    assert not run(asked)[0] and len(list((tmp_path / "tasks").iterdir())) == 1
    monkeypatch.setattr(float_cache, "cache_folder", lambda: kept / "no folder")
    assert not run(one)[0], "a cache that cannot be written is done without"


@pytest.mark.slow
def test_small_batches_answer_the_same(
    tiny_llama: Path, tokenizer: Tokenizer, decoders: dict[str, PackagedDecoder], report: TaskReport, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A larger model's prompts do not fit in one pass."""
    monkeypatch.setattr(float_cache, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(float_answers, "BATCH_TOKENS", 300)
    found = run_tasks(open_checkpoint(str(tiny_llama)), tokenizer, decoders, shipped_tasks(2), quiet, long=512)
    assert found.answers == report.answers and not found.float_cached


# --- what is counted ------------------------------------------------------------------------------------------------


def test_the_report_counts_items(report: TaskReport) -> None:
    given = report.to_dict()
    assert given["items"] == 12 and set(given["kinds"]) == {each.kind for each in report.answers}
    assert set(given["seconds"]) == {"coreml", "onnx", "float"} and given["overall"]["items"] == 12
    for name in ("coreml", "onnx"):
        equal = sum(each["texts"][name] == each["float_text"] for each in given["answers"])
        lost = sum(each["float_right"] and not each["right"][name] for each in given["answers"])
        assert given["overall"]["targets"][name]["equal"]["count"] == equal
        assert given["overall"]["targets"][name]["lost"] == lost
    assert len(report.rows()) == 14 and all(len(row) == len(COLUMNS) for row in report.rows())


@pytest.mark.parametrize(("count", "of"), [(0, 10), (3, 10), (20, 40), (239, 240), (7, 7)])
def test_the_interval_of_a_share_is_wilsons(count: int, of: int) -> None:
    """Its ends are the shares p from which count/of is Z standard errors away: (count/of - p)² = Z² p(1-p)/of."""
    share = Share(count, of)
    low, high = share.interval
    assert 0 <= low <= share.share <= high <= 1
    for end in (low, high):
        if 1e-9 < end < 1 - 1e-9:
            assert math.isclose((share.share - end) ** 2, Z**2 * end * (1 - end) / of, rel_tol=1e-9)
    assert (low == 0) is (count == 0) and (high > 1 - 1e-9) is (count == of)


@pytest.mark.parametrize(("lost", "gained", "items"), [(0, 0, 20), (5, 1, 40), (12, 12, 60), (240, 0, 240)])
def test_the_difference_is_that_of_pairs(lost: int, gained: int, items: int) -> None:
    """The interval from numpy's weighted mean and variance of -1, +1 and 0, half an item more of each kind of pair; the
    p-value by counting all outcomes of fair coins."""
    paired = Paired(items, Share(0, items), Share(0, items), lost, gained)
    values, weights = np.array([-1, 1, 0]), np.array([lost + 0.5, gained + 0.5, items - lost - gained + 1])
    mean = np.average(values, weights=weights)
    error = Z * np.sqrt(np.average((values - mean) ** 2, weights=weights) / weights.sum())
    np.testing.assert_allclose(paired.interval, np.clip((mean - error, mean + error), -1, 1))
    assert paired.difference == (gained - lost) / items
    n = lost + gained
    if n <= 12:
        outcomes = np.array([bin(each).count("1") for each in range(2**n)])
        extreme = np.mean(abs(outcomes - n / 2) >= abs(lost - n / 2))
        assert math.isclose(paired.p_value, extreme)
    assert 0 <= paired.p_value <= 1
