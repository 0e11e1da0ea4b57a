"""Every conversion ends by running what it wrote: no package is published that cannot run or computes nonsense."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tiny import assert_one_line, edgesw, unchanged
from tiny_families import VARIANTS

from edgesw.compress.decoder import CompressedDecoder
from edgesw.conversion import verify
from edgesw.conversion.plans import Plans
from edgesw.conversion.verify import TOLERANCE, distance, tolerance
from edgesw.package.manifest import read_manifest
from edgesw.runtime.coreml import CoreMLDecoder, FixedDecoder
from edgesw.runtime.mil import MilProgram
from edgesw.runtime.onnx import OnnxDecoder
from edgesw.targets.coreml import CoreMLTarget
from edgesw.targets.onnx import OnnxTarget
from edgesw.targets.registry import TARGETS
from edgesw.targets.target import Target

BOTH = ("--target", "coreml", "--target", "onnx")
QUICK = ("--bits", 8, "--calibrate", "none")


def convert(model: Path, output: Path, *options: object) -> Any:
    return edgesw("convert", model, *options, "-o", output)


@pytest.fixture
def distances(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """All distances that are measured."""
    seen: list[float] = []

    def recorded(logits: np.ndarray, expected: np.ndarray) -> float:
        seen.append(distance(logits, expected))
        return seen[-1]

    monkeypatch.setattr(verify, "distance", recorded)
    return seen


@pytest.mark.parametrize(
    ("options", "steps", "most"),
    [
        (BOTH, 4, 0.05),
        pytest.param(("--target", "onnx", "--portable"), 2, 0.05, marks=pytest.mark.slow),
        (("--target", "onnx", "--activations", 8), 2, 0.1),
        pytest.param(("--target", "coreml", "--activations", 8), 2, 0.1, marks=pytest.mark.slow),
        (("--target", "coreml", "--ablation", "--chunks", 2), 4, 0.01),
        (("--target", "coreml", "--compute", "ane", "--lengths", "1,8,16", "--ablation"), 12, 0.01),
        pytest.param(("--target", "coreml", "--lengths", "4"), 2, 0.01, marks=pytest.mark.slow),
        ((*BOTH, "--context", 1), 2, 0.05),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_every_function_of_every_form_runs(
    options: tuple[object, ...], steps: int, most: float, tiny_llama: Path, tmp_path: Path, distances: list[float]
) -> None:
    """A prompt and one token more, for each length that a program takes and without what is held out too: a function
    that is never run before it ships is one that a user runs first."""
    quick = () if "--activations" in options else QUICK
    ran = convert(tiny_llama, tmp_path / "package", *options, *quick)
    assert ran.code == 0, ran.err
    assert len(distances) == steps and max(distances) < most
    assert {model.checked for model in read_manifest(tmp_path / "package").models.values()} == {"run"}


@pytest.mark.parametrize("variant", ["phi3-longrope", "gemma2", "mistral", "olmo2"])
def test_other_families_are_compared_as_packages_compute_them(
    variant: str, tmp_path: Path, distances: list[float]
) -> None:
    """A LongRoPE turns by the context of the package, however short the prompt: compared with the angles of a short
    text, right packages would be refused."""
    from tiny import save_tokenizer
    from tiny_families import save

    assert variant in VARIANTS
    save(variant, tmp_path / "model", vocab_size=320)
    save_tokenizer(tmp_path / "model")
    ran = convert(tmp_path / "model", tmp_path / "package", *BOTH, *QUICK)
    assert ran.code == 0, ran.err
    assert len(distances) == 4 and max(distances) < 0.1


class Swapped(CompressedDecoder):
    """A decoder with two matrices of one shape in each other's place."""

    def __init__(self, right: CompressedDecoder) -> None:
        self.__dict__.update(right.__dict__)
        self._right = right

    def matrix(self, name: str) -> Any:
        names = {"layers.0.gate_proj": "layers.1.up_proj", "layers.1.up_proj": "layers.0.gate_proj"}
        return self._right.matrix(names.get(name, name))


@pytest.mark.parametrize("target", ["coreml", "onnx"])
def test_a_model_of_other_matrices_is_not_published(
    target: str, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distances: list[float]
) -> None:
    """It opens and it runs, and what it says is nonsense: only the logits tell."""
    kind = type(TARGETS[target])
    write = kind.write
    monkeypatch.setattr(kind, "write", lambda self, decoder, *rest: write(self, Swapped(decoder), *rest))
    with unchanged(tmp_path):
        ran = convert(tiny_llama, tmp_path / "package", "--target", target, *QUICK)
        title = TARGETS[target].title
        assert_one_line(
            ran, 1, f"the {title} model that was written does not work, so nothing was published", "report it"
        )
    assert distances[0] > 2 * TOLERANCE


def test_a_model_that_its_ranges_ruin_is_published(tiny_llama: Path, tmp_path: Path, distances: list[float]) -> None:
    """One range for all inputs and nothing held out costs most of the model: what was asked for, and what validation
    says. To refuse it as broken would take the experiment away."""
    options = "--target", "onnx", "--activations", 8, "--ranges", "per-tensor", "--no-hold-out", "--calibrate", "none"
    ran = convert(tiny_llama, tmp_path / "package", *options)
    assert ran.code == 0, ran.err
    assert max(distances) > tolerance("per-token") == tolerance(None)


@pytest.mark.parametrize(
    ("target", "steps", "bad"), [("onnx", OnnxDecoder, np.nan), ("coreml", CoreMLDecoder, -np.inf)]
)
def test_logits_that_are_no_numbers_are_not_published(
    target: str, steps: Any, bad: float, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Float16 ends at 65,504: a package whose stream overflows answers with the first token of the vocabulary."""
    step = steps.step

    def overflows(self: Any, ids: np.ndarray) -> np.ndarray:
        logits: np.ndarray = step(self, ids).copy()
        logits[-1, 7] = bad
        return logits

    monkeypatch.setattr(steps, "step", overflows)
    with unchanged(tmp_path):
        ran = convert(tiny_llama, tmp_path / "package", "--target", target, *QUICK)
        assert_one_line(ran, 1, "its logits are not finite")


@pytest.mark.parametrize("target", ["coreml", "onnx"])
def test_a_file_that_cannot_be_opened_is_not_published(
    target: str, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first table of odd sizes found: exit code 0, and a model that no runtime takes."""
    kind = type(TARGETS[target])
    write = kind.write

    def cut(self: Any, *rest: Any) -> None:
        write(self, *rest)
        (data,) = (*rest[-1].rglob("weight.bin"), *rest[-1].parent.glob("model.onnx.data"))
        data.write_bytes(data.read_bytes()[:4096])

    monkeypatch.setattr(kind, "write", cut)
    with unchanged(tmp_path):
        ran = convert(tiny_llama, tmp_path / "package", "--target", target, *QUICK)
        assert_one_line(ran, 1, f"the {TARGETS[target].title} model that was written does not work")


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no model can be run."""
    monkeypatch.setattr(Plans, "is_run", lambda self, target: False)
    monkeypatch.setattr(verify, "available_memory", lambda: 1000)
    for runs in (MilProgram, OnnxDecoder):
        monkeypatch.setattr(runs, "__init__", lambda *_, **__: pytest.fail("it was run"))


@pytest.mark.parametrize("options", [BOTH, ("--target", "onnx", "--portable"), ("--target", "coreml", "--ablation")])
def test_a_model_that_does_not_fit_memory_is_checked_by_its_structure(
    options: tuple[object, ...], no_room: None, tiny_llama: Path, tmp_path: Path
) -> None:
    """To be killed by the kernel after an hour of compression is worse than a lesser check. The manifest says which."""
    ran = convert(tiny_llama, tmp_path / "package", *options, *QUICK)
    assert ran.code == 0, ran.err
    models = json.loads((tmp_path / "package" / "manifest.json").read_text())["models"]
    assert {model["checked"] for model in models.values()} == {"structure"}


def lost_end(path: Path) -> None:
    for data in (*path.rglob("weight.bin"), *path.parent.glob("model.onnx.data")):
        data.write_bytes(data.read_bytes()[:-64])


def lost_node(path: Path) -> None:
    model = onnx.load(path, load_external_data=False)
    del model.graph.node[5]
    onnx.save(model, str(path))


def lost_function(path: Path) -> None:
    from edgesw.emit.mlpackage import write_spec
    from edgesw.runtime.mil_plan import model_path, read_spec

    spec = read_spec(model_path(path))
    del spec.mlProgram.functions["main_uncorrected"]
    kept = [each for each in spec.description.functions if each.name != "main_uncorrected"]
    del spec.description.functions[:]
    spec.description.functions.extend(kept)
    write_spec(path, spec)


@pytest.mark.parametrize(
    ("target", "damage"), [("coreml", lost_end), ("onnx", lost_end), ("onnx", lost_node), ("coreml", lost_function)]
)
def test_damage_shows_in_the_structure(
    target: str, damage: Callable[[Path], None], no_room: None, tiny_llama: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Weights beyond the end of their file, a node without input, a function that is not there."""
    kind = type(TARGETS[target])
    write = kind.write

    def damaged(self: Any, *rest: Any) -> None:
        write(self, *rest)
        damage(rest[-1])

    monkeypatch.setattr(kind, "write", damaged)
    ablation = ("--ablation",) if target == "coreml" else ()
    with unchanged(tmp_path):
        ran = convert(tiny_llama, tmp_path / "package", "--target", target, *ablation, *QUICK)
        assert_one_line(ran, 1, "model that was written does not work")


@pytest.mark.parametrize("options", [BOTH, (*BOTH[:2], "--ablation"), (*BOTH[2:], "--activations", 8)])
def test_matrices_that_are_not_in_a_store_are_read_from_the_package(
    options: tuple[object, ...], tiny_llama: Path, tmp_path: Path, distances: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A disk too small for the store leaves the files alone to compare with: not compressed once more, which takes as
    long as the conversion."""
    compressed: list[str] = []
    compress = CompressedDecoder._compressed
    monkeypatch.setattr(
        CompressedDecoder,
        "_compressed",
        lambda self, name, *rest: (compressed.append(name), compress(self, name, *rest))[1],
    )
    monkeypatch.setattr(Plans, "cache_bytes", 1 << 60)
    monkeypatch.setattr("edgesw.conversion.convert._shared", lambda plans, plan: False)
    ran = convert(tiny_llama, tmp_path / "package", *options, *(() if "--activations" in options else QUICK))
    assert ran.code == 0, ran.err
    assert len(distances) == 2 * len(read_manifest(tmp_path / "package").models) and max(distances) < 0.1
    assert max(compressed.count(name) for name in {*compressed} - {"embed_tokens"}) == options.count("--target")


def test_distance_is_that_of_the_probabilities() -> None:
    """A number added to all logits changes nothing that a model says; other logits of the same size do."""
    random = np.random.default_rng(0)
    ours, theirs = random.normal(size=(2, 5000)).astype(np.float32)
    assert distance(ours + 100, ours) < 1e-3
    assert distance(theirs, ours) == pytest.approx(2**0.5, rel=0.05)
    assert distance(np.zeros_like(ours), ours) == pytest.approx(1)
    assert not distance(np.full_like(ours, np.nan), ours) <= 10


@pytest.mark.parametrize(
    ("lengths", "prompts"), [((1, 64), (1, 3)), ((64,), (3,)), ((1, 2, 64), (1, 2, 3)), ((1, 16, 64), (1, 3, 17))]
)
def test_each_prompt_is_read_by_its_own_function(
    lengths: tuple[int, ...], prompts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shortest function that holds a prompt reads it: a prompt for the 64 tokens must be longer than 16."""
    target: Target[Any, Any] = CoreMLTarget()
    assert target.prompts(target.resolve(target.asked(lengths=lengths), 512)) == prompts
    called: list[int] = []
    monkeypatch.setattr(FixedDecoder, "reset", lambda self: setattr(self, "_tokens", 0))
    monkeypatch.setattr(FixedDecoder, "_run", lambda self, ids, length: called.append(length))
    decoder = FixedDecoder(dict.fromkeys(lengths), 512, "none")  # type: ignore[arg-type]
    for prompt in prompts:
        decoder.prefill(np.arange(prompt))
    assert set(called) == set(lengths)


def test_an_onnxruntime_without_2_bits_runs_the_other_models(
    monkeypatch: pytest.MonkeyPatch, tiny_llama: Path, tmp_path: Path
) -> None:
    """The last one for Python 3.10 refuses 2-bit weights, which newer ones run: the package is right all the same."""
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "__version__", "1.23.2")
    for bits, checked in ((2, "structure"), (4, "run")):
        output = tmp_path / str(bits)
        ran = convert(tiny_llama, output, "--target", "onnx", "--bits", bits, "--calibrate", "none")
        assert ran.code == 0, ran.err
        assert read_manifest(output).models[OnnxTarget.name].checked == checked


def test_only_what_takes_little_more_than_converting_is_run_whatever_is_free() -> None:
    """A forecast that includes running 7 billion weights would tell laptops that they cannot convert them; one that
    leaves out what always runs would be too low."""
    from edgesw.checkpoint.checkpoint import read_spec
    from edgesw.conversion.plans import LIBRARY_BYTES, make_plans
    from edgesw.conversion.settings import Settings

    small = read_spec("smollm2-135m")[1]
    large = replace(small, layers=32, hidden_size=4096, intermediate_size=14336, head_dim=128, heads=32, kv_heads=8)
    for spec, run in ((small, True), (large, False)):
        plans = make_plans(spec, Settings(("coreml", "onnx"), calibration="none"))
        most = max(plans.check_bytes(name) for name in plans.targets)
        assert all(plans.is_run(name) == run for name in plans.targets)
        assert (plans.memory_bytes >= LIBRARY_BYTES + most) == run
