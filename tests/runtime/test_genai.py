"""An ONNX package in onnxruntime-genai: the folder as it is, without further options."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import BOS, EOS
from tokenizer_forms import Form, write

from edgesw.checkpoint.hf_tokenizer import tokenizer_from_folder
from edgesw.package.manifest import read_manifest
from edgesw.runtime.generate import generate
from edgesw.targets.registry import open_decoder
from edgesw.text.tokenizer import Tokenizer

og = pytest.importorskip("onnxruntime_genai")
PROMPT = "The county's brass was"
TOKENS = 60


@pytest.fixture(scope="module")
def model(tiny_package: Path) -> Any:
    return og.Model(str(tiny_package))


def generated(model: Any, prompt: list[int], most: int) -> list[int]:
    settings = og.GeneratorParams(model)
    settings.set_search_options(max_length=len(prompt) + most)
    run = og.Generator(model, settings)
    run.append_tokens(prompt)
    while not run.is_done():
        run.generate_next_token()
    return [int(token) for token in run.get_sequence(0)][len(prompt) :]


def test_genai_generates_the_same_as_edgesw_s_runtime(tiny_package: Path, tokenizer: Tokenizer, model: Any) -> None:
    """Its caches are one buffer for past and present, edgesw's grow: a graph may be right with only one of them."""
    decoder = open_decoder(tiny_package, read_manifest(tiny_package), "onnx")
    prompt = tokenizer.encode(PROMPT)
    ours = list(generate(decoder, prompt, tokenizer.eos_ids, TOKENS))
    assert len(ours) == TOKENS
    assert generated(model, prompt, TOKENS) == ours


def test_a_batch_padded_at_the_end_ends_each_row_at_its_own_last_token(tiny_package: Path, model: Any) -> None:
    """genai pads shorter prompts at the end, and takes the single row of logits that it gets for each."""
    prompts = [[5, 6, 7, 8, 9, 10], [11, 12, 13]]
    padding = json.loads((tiny_package / "genai_config.json").read_text())["model"]["pad_token_id"]
    settings = og.GeneratorParams(model)
    settings.set_search_options(max_length=20, min_length=20, batch_size=2)
    run = og.Generator(model, settings)
    run.append_tokens(np.array([prompts[0], prompts[1] + 3 * [padding]], np.int32))
    run.generate_next_token()
    for row, prompt in enumerate(prompts):
        assert run.get_sequence(row)[6] == generated(model, prompt, 1)[0]


def test_logits_are_those_of_the_last_token_or_of_the_requested_ones(tiny_package: Path) -> None:
    """A prompt's other logits are rarely needed and take half a gigabyte; on request they must be the right ones."""
    decoder = open_decoder(tiny_package, read_manifest(tiny_package), "onnx")
    ids = np.arange(5, 45)
    every = decoder.step(ids)
    decoder.reset()
    assert every.shape[0] == 40
    np.testing.assert_allclose(decoder.prefill(ids), every[-1], atol=1e-5)
    decoder.reset()
    np.testing.assert_allclose(decoder._run(ids, np.array([-39, 0, -7])), every[[0, 39, 32]], atol=1e-5)


def test_the_code_in_the_card_runs(tiny_package: Path) -> None:
    """The model card's code is what users paste first."""
    card = (tiny_package / "README.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    ran = subprocess.run([sys.executable, "-c", program], cwd=tiny_package, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("Once upon a time")


def test_genai_reads_the_tokenizer(tokenizer: Tokenizer, model: Any) -> None:
    """An app has no other tokenizer: text must become the same tokens, and tokens the same text."""
    theirs = og.Tokenizer(model)
    ids = tokenizer.encode(PROMPT, add_special_tokens=False)
    assert theirs.encode(PROMPT).tolist() == ids, "what a rendered chat needs is genai's default"
    assert theirs.decode(ids) == PROMPT


FORMS = [
    Form(vocabulary, cls, ends, add_bos, model=model)
    for vocabulary, cls, model in (
        ("bytes", "PreTrainedTokenizerFast", "llama"),
        ("llama3", "LlamaTokenizer", "llama"),
        ("bytes", "Qwen2Tokenizer", "qwen2"),
        ("metaspace", "GemmaTokenizer", "gemma2"),
    )
    for ends in ("none", "empty", "bos", "eos", "both")
    for add_bos in (None, True, False)
    if vocabulary != "metaspace" or ends in ("none", "bos")  # genai appends no EOS to SentencePiece's tokens
]


@pytest.mark.parametrize(
    "form", [*FORMS, Form("bytes", "Qwen2Tokenizer", add_bos=True, files="merges")], ids=lambda form: form.name
)
def test_genai_gives_the_same_ids(tiny_package: Path, tmp_path: Path, form: Form) -> None:
    """It reads other keys than transformers does: BOS where the model was trained without makes it worse."""
    package = tmp_path / "package"
    shutil.copytree(tiny_package, package)
    for name, content in tokenizer_from_folder(write(tmp_path / "model", form)).items():
        (package / name).write_bytes(content)
    ours, theirs = Tokenizer.from_folder(package), og.Tokenizer(og.Model(str(package)))
    for prompt in (PROMPT, "two\n\nlines, 日本語 and <s> 12", " a"):
        assert theirs.encode(prompt).tolist() == ours.encode(prompt, add_special_tokens=False)
    theirs.update_options(add_special_tokens="true")
    for prompt in (PROMPT, "two\n\nlines, 日本語 and <s> 12", " a"):
        assert theirs.encode(prompt).tolist() == ours.encode(prompt)


def test_generation_ends_where_a_turn_ends(tiny_package: Path, tokenizer: Tokenizer) -> None:
    """Without the stop tokens an app would show what the model continues with after its answer."""
    config = json.loads((tiny_package / "genai_config.json").read_text())["model"]
    assert config["eos_token_id"] == list(tokenizer.eos_ids) == [tokenizer.encode(EOS, add_special_tokens=False)[0]]
    assert config["bos_token_id"] == tokenizer.encode(BOS, add_special_tokens=False)[0]
    assert config["context_length"] == read_manifest(tiny_package).context
