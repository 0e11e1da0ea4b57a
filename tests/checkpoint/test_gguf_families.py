"""Every family read from GGUF gives transformers' logits: a wrong row or switch gives a model that writes nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf_families import WRITTEN, make, write

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.errors import EdgeswError, UnsupportedError
from edgesw.runtime.torch import FloatLogits


def logits(model: Any, ids: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(ids[None])).logits.numpy()[0]


@pytest.mark.parametrize("name", WRITTEN)
def test_float_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    model = make(name)
    checkpoint = open_checkpoint(str(write(name, tmp_path / "m.gguf", model)))
    ids = np.random.default_rng(1).integers(0, 96, 60)
    ours = np.stack(list(FloatLogits(checkpoint.spec, checkpoint, ids[None])))[0]
    theirs = logits(model, ids)
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)
    assert theirs.std() > 0.1


@pytest.mark.parametrize("name", WRITTEN)
def test_llama_cpp_reads_the_files_of_these_tests_alike(name: str, tmp_path: Path) -> None:
    """Otherwise the test above would only show that reading inverts writing. llama.cpp's GELU is a float16 table."""
    llama_cpp = pytest.importorskip("llama_cpp")
    model = make(name)
    path = write(name, tmp_path / "m.gguf", model)
    float32 = {"type_k": 0, "type_v": 0, "logits_all": True, "n_ctx": 128, "n_batch": 64, "n_ubatch": 64}
    llama = llama_cpp.Llama(str(path), verbose=False, n_threads=1, n_threads_batch=1, **float32)
    ids = np.random.default_rng(1).integers(0, 96, 60)
    llama.eval(ids.tolist())
    theirs = logits(model, ids)
    np.testing.assert_allclose(llama.scores[: len(ids)], theirs, atol=0.01 * float(theirs.std()), rtol=0)


def test_a_window_in_the_file_is_applied(tmp_path: Path) -> None:
    """Phi-3's files contain a window, which llama.cpp ignores; transformers and edgesw apply it."""
    model = make("phi3", sliding_window=7)
    checkpoint = open_checkpoint(str(write("phi3", tmp_path / "m.gguf", model)))
    ids = np.random.default_rng(1).integers(0, 96, 30)
    ours = np.stack(list(FloatLogits(checkpoint.spec, checkpoint, ids[None])))[0]
    np.testing.assert_allclose(ours, logits(model, ids), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "layers"), [("gemma2", 46), ("gemma3", 62)])
def test_the_27b_models_scale_scores_by_another_size(name: str, layers: int, tmp_path: Path) -> None:
    """No file says so; scaled like the smaller models, the largest ones would attend too sharply."""
    small = open_checkpoint(str(write(name, tmp_path / "small.gguf", make(name)))).spec
    assert small.score_scale == pytest.approx(32**-0.5), "head_dim"
    kinds = ["sliding_attention"] * layers
    model = make(name, num_hidden_layers=layers, layer_types=kinds, hidden_size=16, intermediate_size=16)
    large = open_checkpoint(str(write(name, tmp_path / "large.gguf", model))).spec
    assert large.score_scale == pytest.approx(4**-0.5), "hidden size by heads"


def test_gemma3_windows_in_every_form_that_files_have(tmp_path: Path) -> None:
    """Every sixth layer has no window, unless the file gives another number, a list of layers, or no window at all."""
    model = make("gemma3")

    def windows(change: Any) -> list[int | None]:
        return list(open_checkpoint(str(write("gemma3", tmp_path / "m.gguf", model, change))).spec.layer_windows)

    assert windows(None) == [7, 7, 7, 7, 7, None]
    assert windows(lambda w: w.add_sliding_window_pattern(2)) == [7, None, 7, None, 7, None]
    kinds = [True, False, False, True, True, False]
    assert windows(lambda w: w.add_sliding_window_pattern(kinds)) == [7, None, None, 7, 7, None]
    for none in (0, None):
        model.config.sliding_window = none
        assert windows(None) == [None] * 6


def test_gemma3_frequencies_in_layers_with_a_window(tmp_path: Path) -> None:
    """Theta in layers with a window is 10000 unless the file has one, and it is never scaled."""
    model = make("gemma3")
    plain = open_checkpoint(str(write("gemma3", tmp_path / "m.gguf", model))).spec
    said = write("gemma3", tmp_path / "said.gguf", model, lambda w: w.add_rope_freq_base_swa(500.0))
    other = open_checkpoint(str(said)).spec
    exponents = -np.arange(16) / 16
    full, local = (np.array(plain.rotaries[plain.layer_rotary[layer] or 0].frequencies) for layer in (5, 0))
    np.testing.assert_allclose(full, 1e6**exponents / 8)
    np.testing.assert_allclose(local, 1e4**exponents)
    np.testing.assert_allclose(other.rotaries[other.layer_rotary[0] or 0].frequencies, 500.0**exponents)


def test_olmo3_is_refused(tmp_path: Path) -> None:
    """Its files call themselves olmo2; without its windows it would be a different model."""
    path = write("olmo2", tmp_path / "m.gguf", make("olmo2"), lambda writer: writer.add_sliding_window(7))
    with pytest.raises(UnsupportedError, match=r"m\.gguf: an OLMo-2 with sliding windows \(OLMo-3\)"):
        open_checkpoint(str(path))


@pytest.mark.parametrize("lost", ["rope_factors_long.weight", "rope_factors_short.weight"])
def test_half_of_longrope_is_an_error(lost: str, tmp_path: Path) -> None:
    path = write("phi3-longrope", tmp_path / "m.gguf", make("phi3-longrope"))
    content = path.read_bytes()
    assert content.count(lost.encode()) == 1
    path.write_bytes(content.replace(lost.encode(), lost.replace("rope", "nope").encode()))
    with pytest.raises(EdgeswError, match=r"m\.gguf.*factor"):
        open_checkpoint(str(path))
