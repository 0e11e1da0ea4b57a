"""The Python API: the examples of docs/api.md run, and what they give is what the command line gives."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import SUPER_WEIGHT, edgesw

import edgesw as api

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def page(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], str]]:
    """(what the examples defined, what they printed), run in order in one folder with the tiny model."""
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.chdir(tmp_path_factory.mktemp("api")) if sys.version_info >= (3, 11) else contextlib.nullcontext():
        with contextlib.redirect_stdout(printed):
            for example in EXAMPLES:
                own = example.replace('"smollm2-135m"', repr(str(tiny_llama)))
                own = own.replace("validate(package,", f"validate(package, against={str(tiny_llama)!r},")
                exec(compile(own, str(PAGE), "exec"), names)
        yield names, printed.getvalue()


pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="contextlib.chdir")


def test_the_examples_run(page: tuple[dict[str, Any], str]) -> None:
    """A first example that fails is the last that someone tries."""
    names, printed = page
    assert len(EXAMPLES) >= 8
    assert str(SUPER_WEIGHT) in printed
    assert names["package"].targets == ("coreml", "onnx")
    assert names["report"].targets.keys() == {"coreml", "onnx"}
    assert "'no-such-folder' is not a folder" in printed
    assert "Finding super weights: pass 1, layer 0" in printed


def test_the_stream_is_what_the_command_prints(tiny_package: Path) -> None:
    package = api.open_package(tiny_package)
    pieces = list(package.generate("The", target="onnx", max_tokens=12))
    assert len(pieces) > 1 and all(pieces)
    ran = edgesw("generate", tiny_package, "The", "--target", "onnx", "--max-tokens", 12)
    assert ran.out == "The" + "".join(pieces) + "\n"


def test_logits_are_those_of_the_compressed_model(unrounded_package: Path, tiny_compressed: Any) -> None:
    """An engineer compares them with transformers: they must be the same numbers, token by token."""
    package = api.open_package(unrounded_package)
    ids = package.tokenizer.encode("The sea was calm")
    with torch.inference_mode():
        expected = tiny_compressed(torch.tensor([ids])).logits[0].numpy()
    for given in ("The sea was calm", ids):
        logits = package.logits(given, target="onnx")
        assert logits.shape == expected.shape and logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, atol=2e-3 * np.abs(expected).max())


def test_a_prompt_without_room_is_refused_at_once(tiny_package: Path) -> None:
    """A generator that raises only when it is read would let a program tell its user that all is well."""
    package = api.open_package(tiny_package)
    with pytest.raises(api.UsageError, match="shorten it"):
        package.generate("word " * 2000)
    with pytest.raises(api.UsageError, match="has no tflite model"):
        package.generate("The", target="tflite")
    with pytest.raises(api.UsageError, match="without what is held out"):
        package.generate("The", corrected=False)


def test_settings_that_contradict_each_other_are_refused_when_they_are_made() -> None:
    """Before a model is fetched, in a program as on the command line."""
    for wrong, said in (
        ({"targets": ()}, "no target"),
        ({"targets": ("tflite",)}, "there is no target 'tflite'"),
        ({"targets": ("onnx",), "bits": 4, "size": 10**9}, "mutually exclusive"),
        ({"targets": ("onnx",), "hold_out": False, "hold_out_fraction": 1e-3}, "mutually exclusive"),
        ({"targets": ("onnx",), "options": {"coreml": api.CoreMLOptions("ane")}}, "add --target coreml"),
        ({"targets": ("coreml",), "activations": "per-token"}, "static"),
        ({"targets": ("onnx",), "activations": "", "bits": 4}, "--bits 8"),
    ):
        with pytest.raises(api.UsageError, match=re.escape(said)):
            api.Settings(**wrong)


def test_importing_it_is_quick() -> None:
    """A tool that only asks for the version, or completes a command, must not wait for torch."""
    program = (
        "import edgesw, sys; print([name for name in ('torch', 'coremltools', 'onnx', 'numba') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_what_it_names_is_there() -> None:
    for name in api.__all__:
        assert getattr(api, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = api.nothing
