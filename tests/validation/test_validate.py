"""The figures of `edgesw validate` are what they are called, and its verdict follows from them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tiny import BOS, CONTEXT, Ran, assert_one_line, edgesw, logits_of
from tokenizers import Tokenizer as Backend

from edgesw.cli.tables import print_json
from edgesw.text.texts import KINDS, shipped_text
from edgesw.validation.measure import Agreement
from edgesw.validation.validation_report import ValidationReport
from edgesw.validation.verdict import Limits, judge

WINDOWS, TOKENS = 1, 96  # of each kind


class Figures(NamedTuple):
    perplexity: float
    float_perplexity: float
    kl_divergence: float
    top1_agreement: float
    kl_99th: float
    top5_agreement: float
    window_perplexities: list[float]

    @property
    def increase(self) -> float:
        return self.perplexity / self.float_perplexity - 1


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def figures(folder: Path, float_model: Any, compressed: Any, kinds: tuple[str, ...] = KINDS) -> Figures:
    """By the textbook, from transformers' logits: each token but a window's first is predicted from those before it."""
    backend = Backend.from_file(str(folder / "tokenizer.json"))
    bos = backend.token_to_id(BOS)
    loss, float_loss, divergence, same, near = [], [], [], [], []
    for kind in kinds:
        text = shipped_text(f"validation/{kind}").content
        window = backend.encode(text, add_special_tokens=False).ids[: TOKENS - 1]
        tokens = [bos, *window]
        p, q = (log_softmax(logits_of(model, tokens)[:-1]) for model in (float_model, compressed))
        at = np.arange(TOKENS - 1), window
        float_loss.append(-p[at])
        loss.append(-q[at])
        divergence.append((np.exp(p) * (p - q)).sum(-1))
        same.append(p.argmax(-1) == q.argmax(-1))
        near.append((np.argsort(-q, axis=-1)[:, :5] == p.argmax(-1)[:, None]).any(-1))
    return Figures(
        math.exp(np.mean(loss)),
        math.exp(np.mean(float_loss)),
        float(np.mean(divergence)),
        float(np.mean(same)),
        float(np.percentile(divergence, 99)),
        float(np.mean(near)),
        [math.exp(np.mean(each)) for each in loss],
    )


WIDE = ("--max-kl", 1, "--min-top1", 10, "--max-perplexity-increase", 300)
"""Limits that any package is within that works at all: the tiny model has read no text of these kinds."""


def validate(package: Path, *more: object) -> Ran:
    return edgesw("validate", package, "--windows", WINDOWS, "--tokens", TOKENS, *more)


@pytest.fixture(scope="module")
def expected(tiny_model: tuple[Path, Any], tiny_compressed: Any) -> Figures:
    return figures(*tiny_model, tiny_compressed)


@pytest.fixture(scope="module")
def by_kind(tiny_model: tuple[Path, Any], tiny_compressed: Any) -> dict[str, Figures]:
    return {kind: figures(*tiny_model, tiny_compressed, (kind,)) for kind in KINDS}


@pytest.fixture(scope="module")
def report(tiny_llama: Path, unrounded_package: Path) -> dict[str, Any]:
    """Without inputs rounded to 8 bits, which transformers has not."""
    ran = validate(unrounded_package, "--against", tiny_llama, *WIDE, "--json")
    assert ran.code == 0 and ran.err == ""
    return json.loads(ran.out)


def test_the_figures_are_those_of_the_textbook(report: dict[str, Any], expected: Figures) -> None:
    """People choose between packages, and ship, by these four numbers."""
    positions = len(KINDS) * (TOKENS - 1)
    for target, tolerance in {"onnx": 1e-4, "coreml": 5e-3}.items():
        found = report["targets"][target]
        assert found["positions"] == positions
        assert found["float_perplexity"] == pytest.approx(expected.float_perplexity, rel=1e-5)
        assert found["perplexity"] == pytest.approx(expected.perplexity, rel=tolerance)
        assert found["increase"] == pytest.approx(expected.increase, abs=2 * tolerance)
        assert found["kl_divergence"] == pytest.approx(expected.kl_divergence, rel=50 * tolerance)
        near_ties = {"onnx": 1, "coreml": 5}[target]
        assert found["top1_agreement"] == pytest.approx(expected.top1_agreement, abs=(near_ties + 0.5) / positions)
        assert found["top5_agreement"] == pytest.approx(expected.top5_agreement, abs=(near_ties + 0.5) / positions)
        assert found["kl_99th"] == pytest.approx(expected.kl_99th, rel=50 * tolerance)
        assert found["window_perplexities"] == pytest.approx(expected.window_perplexities, rel=2 * tolerance)


def test_each_kind_has_figures_of_its_own(report: dict[str, Any], by_kind: dict[str, Figures]) -> None:
    """A package that is close on prose and far off on code would pass by their mean."""
    found = report["targets"]["onnx"]["kinds"]
    assert list(found) == list(KINDS)
    for kind, expected in by_kind.items():
        assert found[kind]["perplexity"] == pytest.approx(expected.perplexity, rel=1e-4)
        assert found[kind]["float_perplexity"] == pytest.approx(expected.float_perplexity, rel=1e-5)
        assert found[kind]["kl_divergence"] == pytest.approx(expected.kl_divergence, rel=5e-3)
        assert found[kind]["top1_agreement"] == pytest.approx(expected.top1_agreement, abs=1.5 / TOKENS)


def test_the_figures_are_no_trivial_ones(expected: Figures) -> None:
    """A reference that was not compressed, or a model that knows nothing, would prove nothing about the code above."""
    assert 0.5 < expected.top1_agreement < 0.99
    assert expected.kl_divergence > 1e-3
    assert expected.float_perplexity < 150 < 320


def test_float32_in_the_interpreter_is_what_onnxruntime_says(
    tiny_llama: Path, tiny_package: Path, expected: Figures
) -> None:
    ran = validate(tiny_package, "--against", tiny_llama, "--target", "coreml", "--precision", "float32", "--json")
    (found,) = json.loads(ran.out)["targets"].values()
    if "interpreter" not in found["runtime"]:
        pytest.skip("Core ML itself is here: it chooses its precision")
    assert found["runtime"] == "MIL interpreter (float32)"
    assert found["perplexity"] == pytest.approx(expected.perplexity, rel=1e-3)


def test_the_report_says_what_was_measured_on_what(report: dict[str, Any]) -> None:
    assert report["text"] == "shipped validation text"
    assert (report["windows"], report["tokens_per_window"]) == (len(KINDS), TOKENS)
    assert report["limits"] == {"kl": 1.0, "top1": 0.1, "increase": 3.0}
    assert report["max_perplexity_increase"] == 3.0, "EdgeSWKit reads it under this name"
    assert (report["bos"], report["stride"]) == (True, TOKENS - 1)
    assert report["passed"] is True
    assert list(report["targets"]) == ["coreml", "onnx"]
    assert report["targets"]["onnx"]["runtime"].startswith("onnxruntime ")
    assert all(target["passed"] for target in report["targets"].values())


def test_the_table_has_the_same_figures(tiny_llama: Path, unrounded_package: Path, report: dict[str, Any]) -> None:
    ran = validate(unrounded_package, "--against", tiny_llama, "--target", "onnx", *WIDE)
    assert ran.code == 0 and ran.err == ""
    title, header, line, _, heading, columns, *kinds = ran.out.strip().splitlines()
    how = f"{len(KINDS)} windows of {TOKENS} tokens, each starting with BOS, no overlap"
    assert title.strip() == f"{unrounded_package}: shipped validation text, {how}"
    assert header.split()[:4] == ["target", "verdict", "perplexity", "float"]
    found = report["targets"]["onnx"]
    figures = [
        f"{found['perplexity']:,.3f}",
        f"{found['float_perplexity']:,.3f}",
        f"{found['increase']:+.1%}",
        f"{found['kl_divergence']:.4f}",
        f"{found['kl_99th']:.3f}",
        f"{found['top1_agreement']:.1%}",
        f"{found['top5_agreement']:.1%}",
        *f"{found['bytes'] / 1e3:.1f} kB".split(),
    ]
    assert line.split() == ["onnx", "pass", *figures, *found["runtime"].split()]
    assert heading == "By kind of text" and columns.split()[:3] == ["target", "text", "perplexity"]
    wanted = {kind: f"{one['kl_divergence']:.4f}" for kind, one in found["kinds"].items()}
    assert {cells[1]: cells[5] for cells in map(str.split, kinds)} == wanted


@pytest.fixture(scope="module")
def poor_package(converted: Callable[..., Path]) -> Path:
    """Two bits: visibly worse than float."""
    return converted("--target", "onnx", "--bits", "2", "--effort", "fast")


@pytest.mark.parametrize(
    ("option", "figure", "worst", "sign"),
    [
        ("--max-perplexity-increase", "increase", max, 100),
        ("--max-kl", "kl_divergence", max, 1),
        ("--min-top1", "top1_agreement", min, 100),
    ],
)
def test_the_verdict_is_by_the_worst_kind_and_tells_a_script(
    option: str, figure: str, worst: Callable[..., Any], sign: int, tiny_llama: Path, poor_package: Path
) -> None:
    """A release script goes by the exit code: 0 instead of 3 ships a broken model, 1 is any other failure."""
    words = (poor_package, "--against", tiny_llama, *WIDE)
    kinds = json.loads(validate(*words, "--json").out)["targets"]["onnx"]["kinds"]
    kind = worst(kinds, key=lambda each: kinds[each][figure])
    value = kinds[kind][figure]
    assert value > 0.01, "two bits that cost nothing would test nothing"
    within, beyond = (f"{sign * value * (1 + part):.6f}" for part in ((1e-3, -1e-3) if worst is max else (-1e-3, 1e-3)))
    assert validate(*words, option, within).code == 0
    failed = validate(*words, option, beyond)
    assert failed.code == 3
    assert " FAIL " in failed.out and failed.err == ""
    (why,) = (line for line in failed.out.splitlines() if line.startswith("onnx fails: "))
    assert f" on {kind}, at " in why
    found = json.loads(validate(*words, option, beyond, "--json").out)
    assert found["passed"] is False and found["targets"]["onnx"]["passed"] is False
    assert [f"onnx fails: {line}." for line in found["targets"]["onnx"]["failures"]] == [why]


def agreement(perplexity: float = 10.5, kl: float = 0.05, top1: float = 0.9, **more: Any) -> Agreement:
    return Agreement("some runtime", perplexity, 10.0, kl, top1, 100, **more)


def report_of(**targets: Agreement) -> ValidationReport:
    return ValidationReport("text", 1, 101, Limits(), targets)


def test_one_target_that_fails_fails_the_package() -> None:
    assert report_of(onnx=agreement()).passed
    assert not report_of(onnx=agreement(), coreml=agreement(13.0)).passed


def test_one_kind_that_fails_fails_the_target() -> None:
    """The mean of six kinds hides one."""
    kinds = {"web": agreement(), "code": agreement(kl=1.0), "dialogue": agreement()}
    (failure,) = judge(agreement(kinds=kinds), Limits()).failures
    assert "KL divergence 1.000 on code" in failure


def test_a_perplexity_that_falls_by_more_than_chance_is_told() -> None:
    """Qwen2.5-0.5B in 4 bits once passed with -20.2%, and a KL divergence of 0.32 nats: it was another model."""
    verdict = judge(agreement(8.0, kl=0.32, top1=0.71, loss_error=0.01), Limits())
    assert not verdict.passed and len(verdict.failures) == 1
    assert len(verdict.warnings) == 1 and "-20.0%" in verdict.warnings[0]
    assert not judge(agreement(9.9, loss_error=0.01), Limits()).warnings, "a percent is chance"


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_figures_that_are_no_numbers_never_pass_and_are_still_json(
    broken: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """An overflow in float16 ends in NaN. `NaN <= 0.2` and `-100%` have passed worse; and `jq` chokes on NaN."""
    for bad in (agreement(broken), agreement(kl=broken), replace(agreement(), float_perplexity=broken)):
        assert not judge(bad, Limits()).passed
        assert not judge(agreement(kinds={"web": agreement(), "code": bad}), Limits()).passed
    print_json(report_of(onnx=agreement(broken, kl=broken)).to_dict())

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)["targets"]["onnx"]
    assert found["perplexity"] is None and found["kl_divergence"] is None and found["passed"] is False


def test_windows_are_cut_to_what_the_package_holds(tiny_llama: Path, poor_package: Path) -> None:
    """Asking for more is natural; failing over it, or measuring past the cache, is not."""
    ran = edgesw("validate", poor_package, "--against", tiny_llama, "--windows", 1, "--tokens", 4096, "--json")
    assert json.loads(ran.out)["tokens_per_window"] == CONTEXT


def test_another_text_gives_other_figures(
    tiny_llama: Path, poor_package: Path, report: dict[str, Any], tmp_path: Path
) -> None:
    """--text that is taken and not used would go unnoticed for ever."""
    (tmp_path / "mine.txt").write_text("Seven plums. " * 200)
    ran = validate(poor_package, "--against", tiny_llama, "--text", tmp_path / "mine.txt", "--json")
    found = json.loads(ran.out)
    assert found["text"] == "mine.txt"
    expected = report["targets"]["onnx"]["float_perplexity"]
    assert abs(found["targets"]["onnx"]["float_perplexity"] / expected - 1) > 0.1


# --- what cannot be validated ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["model.onnx.data", "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"])
def test_a_package_with_damaged_weights_fails(file: str, tiny_llama: Path, tiny_package: Path, tmp_path: Path) -> None:
    """One flipped bit changes no size and may change no figure much: only the checksum tells."""
    package = Path(shutil.copytree(tiny_package, tmp_path / "copy"))
    content = bytearray((package / file).read_bytes())
    content[len(content) // 2] ^= 1
    (package / file).write_bytes(content)
    assert_one_line(validate(package, "--against", tiny_llama), 1, f"{package / file} is damaged", "Convert again")
    (package / file).write_bytes(content[: len(content) // 2])
    assert_one_line(validate(package, "--against", tiny_llama), 1, f"{package / file} has", "convert again")


def test_another_model_is_refused(tiny_package: Path, tmp_path: Path, tiny_llama: Path) -> None:
    """KL divergence between models with other tokens is a figure without meaning."""
    from safetensors.numpy import load_file, save_file

    other = Path(shutil.copytree(tiny_llama, tmp_path / "other"))
    tensors = load_file(other / "model.safetensors")
    embedding = tensors["model.embed_tokens.weight"]
    tensors["model.embed_tokens.weight"] = np.concatenate([embedding, embedding[:64]])
    save_file(tensors, other / "model.safetensors")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "vocab_size": len(embedding) + 64}))
    assert_one_line(validate(tiny_package, "--against", other), 2, "has 384 tokens and the package 320", "--against")
    assert_one_line(validate(tiny_package, "--against", tmp_path / "none"), 2, "none' does not exist")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--target tensorrt", "has no tensorrt model: it has coreml, onnx"),
        ("--windows 0", "--windows"),
        ("--tokens 1", "--tokens"),
        ("--max-perplexity-increase much", "'much' is not a percentage such as 5%"),
        ("--max-perplexity-increase -5", "'-5' is not a percentage such as 5%"),
        ("--max-perplexity-increase nan", "'nan' is not a percentage"),
        ("--min-top1 -1", "'-1' is not a percentage"),
        ("--max-kl -1", "--max-kl"),
        ("--precision int8", "--precision"),
    ],
)
def test_an_option_that_makes_no_sense(options: str, said: str, tiny_llama: Path, tiny_package: Path) -> None:
    ran = edgesw("validate", tiny_package, "--against", tiny_llama, *options.split())
    assert_one_line(ran, 2, said)
