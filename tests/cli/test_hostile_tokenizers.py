"""A tokenizer or a chat template that hangs, grows or crashes costs one line, in every command that uses it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_tokenizers import TEMPLATES, TOKENIZERS, part, spoil
from tiny import Ran, edgesw

from edgesw.cli.program import cli

PATIENCE = 120  # seconds, for machines that are busy with other things
# What no text of these commands meets: "strip" decodes nothing that begins with an a.
HARMLESS = {"strip"}


@pytest.fixture
def package(converted: Callable[..., Path], tmp_path: Path) -> Path:
    return shutil.copytree(converted("--target", "onnx"), tmp_path / "package")


@pytest.fixture
def model(tiny_llama: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_llama, tmp_path / "model")


@pytest.fixture
def short_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests need not wait for what users wait for."""
    monkeypatch.setattr("edgesw.text.chat_sandbox.PROMPT_SECONDS", 2.0)
    monkeypatch.setattr("edgesw.text.chat_sandbox.SECONDS", 4.0)


def assert_sound_end(ran: Ran, *said: str) -> None:
    """Done, or refused in one line that says all of `said`."""
    assert ran.code in (0, 1, 2), ran
    errors = [line for line in ran.err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == (ran.code != 0), ran.err
    assert "Traceback" not in ran.err and "failed in a way it should not" not in ran.err and "panicked" not in ran.err
    if ran.code:
        assert ran.err.splitlines()[-1] == errors[0], "something is printed after the error"
        for words in said:
            assert words in errors[0]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "normalizer" else []) for name in TOKENIZERS]
)
def test_a_hostile_tokenizer_is_one_line(name: str, package: Path, model: Path) -> None:
    """Whoever tries a package from the internet learns which file is damaged, whatever the library makes of it."""
    spoil(package, tokenizer=TOKENIZERS[name])
    spoil(model, tokenizer=TOKENIZERS[name])
    prompt = "a" * 60 + "!"
    ran = [edgesw("generate", package, prompt, "--max-tokens", 3)]
    ran += [edgesw("generate", package, prompt, "--max-tokens", 3, "--chat")]
    ran += [edgesw("detect", model)]
    for each in ran:
        assert_sound_end(each, "token")
    assert name in HARMLESS or any(each.code for each in ran), "it does not test anything"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "padded" else []) for name in TEMPLATES]
)
@pytest.mark.usefixtures("short_time")
def test_a_hostile_template_is_one_line(name: str, package: Path) -> None:
    """A template is a program of a stranger: a chat with it ends in seconds, and says what to do instead."""
    spoil(package, template=TEMPLATES[name])
    ran = edgesw("generate", package, "hello", "--chat", "--max-tokens", 3)
    assert_sound_end(ran, "chat template", "Give a plain prompt.")
    assert ran.code == 2, "a loop in a template is no fault of the package's as a model"
    assert edgesw("generate", package, "hello", "--max-tokens", 3).code == 0, "without a chat it is as good as any"


AGAINST = ("PACKAGE", "--against", "SOUND", "--windows", 1)
COMMANDS: dict[str, tuple[object, ...]] = {
    "detect": ("MODEL", "--fast"),
    "convert": ("MODEL", "--target", "onnx", "--calibrate", "none", "-o", "OUT/made"),
    "doctor": ("MODEL",),
    "study": ("MODEL", "--experiment", "stopwords", "--windows", 1, "--tokens", 16, "-o", "OUT"),
    "validate": (*AGAINST, "--tokens", 32, "--details"),
    "compare": (*AGAINST, "--no-speed"),
    "report": (*AGAINST, "-o", "OUT/report.html"),
    "verify": ("PACKAGE",),
    "inspect": ("PACKAGE",),
    "bench": ("PACKAGE", "--prompts", 4, "--tokens", 1),
    "generate": ("PACKAGE", "a" * 60 + "!", "--max-tokens", 3, "--chat"),
    "push": ("PACKAGE", "owner/name", "--dry-run"),
}
READ_NO_TOKENIZER = {"doctor", "verify", "inspect", "bench", "push"}


def run_on(command: str, package: Path, model: Path, sound: Path, out: Path) -> Ran:
    places = {"PACKAGE": package, "MODEL": model, "SOUND": sound}
    words = (str(places.get(str(word), word)).replace("OUT", str(out), 1) for word in COMMANDS[command])
    return edgesw(command, *words)


def test_no_command_is_forgotten() -> None:
    """The next command that reads a tokenizer is held to the same."""
    assert set(COMMANDS) == set(cli.commands) - {"recipes", "demo-app"}


@pytest.mark.parametrize("name", [pytest.param(each, marks=pytest.mark.slow) for each in (*TOKENIZERS, *TEMPLATES)])
@pytest.mark.usefixtures("short_time")
def test_every_command_ends_well_with_every_tokenizer_and_template(
    name: str, package: Path, model: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    """Each command asks something else of a tokenizer: ids, tokens one by one, all of its vocabulary."""
    for folder in (package, model):
        spoil(folder, tokenizer=TOKENIZERS.get(name), template=TEMPLATES.get(name))
    for command in COMMANDS:
        ran = run_on(command, package, model, tiny_llama, tmp_path)
        assert_sound_end(ran)
        assert ran.code == 0 or command not in READ_NO_TOKENIZER, ran


@pytest.mark.parametrize("command", ["study", "validate", "compare", "report"])
def test_a_tokenizer_that_panics_ends_every_command_in_one_line(
    command: str, package: Path, model: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    """`generate` and `detect` are not the only ones that give it a text."""
    for folder in (package, model):
        spoil(folder, tokenizer=TOKENIZERS["length 0"])
    ran = run_on(command, package, model, tiny_llama, tmp_path)
    assert_sound_end(ran, "tokenizer.json is damaged", "download it again" if command == "study" else "convert again")
    assert (ran.code, ran.out) == (1, "")


def test_what_cannot_decode_is_found_before_the_work(
    package: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The samples of a report come last: an hour of measuring would be lost on a tokenizer that only encodes."""

    def too_early(*_: object) -> None:
        raise AssertionError("the float model runs before the tokenizer is known to decode")

    spoil(package, tokenizer=part("decoder", {"type": "Strip", "content": "e", "start": 2**62, "stop": 2**62}))
    monkeypatch.setattr("edgesw.validation.validate.float_logits", too_early)
    ran = edgesw("validate", package, "--against", tiny_llama, "--windows", 1, "--details")
    assert_sound_end(ran, "tokenizer.json is damaged (decoding tokens", "convert again")
    assert ran.code == 1


def in_a_process(*words: object) -> Ran:
    """`edgesw` as users start it. AssertionError where it hangs, or leaves a process behind."""
    mark = uuid.uuid4().hex
    command = [sys.executable, "-c", f"from edgesw.cli import main; main({[str(word) for word in words]})"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, env={**os.environ, "EDGESW_TEST": mark}
    )
    end = time.monotonic() + 20
    while left := marked(mark):
        assert time.monotonic() < end, f"left running: {left}"
        time.sleep(0.05)
    return Ran(done.returncode, done.stdout, done.stderr)


def marked(mark: str) -> list[str]:
    """The processes with this mark in their environment, zombies aside."""
    found = []
    for folder in Path("/proc").glob("[0-9]*") if sys.platform == "linux" else ():
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text())
        except OSError:  # it ended, or is another user's
            pass
    return found


@pytest.mark.parametrize("name", ["decoder"])
def test_nothing_is_left_running(name: str, package: Path) -> None:
    spoil(package, tokenizer=TOKENIZERS[name])
    ran = in_a_process("generate", package, "aaa", "--max-tokens", 3)
    assert_sound_end(ran, "tokenizer.json is damaged", "convert again")
    assert ran.code == 1


def test_ctrl_c_ends_a_template_without_end(package: Path) -> None:
    """Nobody should have to wait for a limit."""
    spoil(package, template=TEMPLATES["endless"])
    mark = uuid.uuid4().hex
    command = [
        sys.executable,
        "-c",
        f"from edgesw.cli import main; main(['generate', {str(package)!r}, 'a', '--chat'])",
    ]
    environment = {**os.environ, "EDGESW_TEST": mark}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        end = time.monotonic() + PATIENCE
        while not any("bounded_child" in command for command in marked(mark)) and sys.platform == "linux":
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        began = time.monotonic()
        out, err = running.communicate(timeout=PATIENCE)
    assert time.monotonic() - began < 8, "it waited for the limit"
    assert (running.returncode, out) == (130, ""), err
    assert err.lstrip("\n") == "Error: interrupted; nothing was left behind.\n"
    assert not marked(mark)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("regex", "decoder", "endless") else pytest.mark.nightly)
        for name in (*TOKENIZERS, *TEMPLATES)
    ],
)
def test_every_command_ends_in_a_process_of_its_own(name: str, package: Path, model: Path, tiny_llama: Path) -> None:
    """The same as users see it: no hang, no traceback, nothing left running."""
    for folder in (package, model):
        spoil(folder, tokenizer=TOKENIZERS.get(name), template=TEMPLATES.get(name))
    prompt = "a" * 60 + "!"
    assert_sound_end(in_a_process("generate", package, prompt, "--max-tokens", 3))
    chat = in_a_process("generate", package, prompt, "--max-tokens", 3, "--chat")
    assert_sound_end(chat)
    assert name in HARMLESS or chat.code
    for words in (
        ("validate", package, "--against", tiny_llama),
        ("report", package, "--against", tiny_llama, "-o", package.parent / "report.html"),
        ("convert", model, "--target", "onnx", "-o", package.parent / "made"),
    ):
        assert_sound_end(in_a_process(*words))
