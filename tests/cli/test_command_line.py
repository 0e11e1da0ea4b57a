"""The command line as such: help, version, unknown words, and what goes to stdout and what to stderr."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import SUPER_WEIGHT, assert_one_line, edgesw

import edgesw as library
from edgesw.cli.convert import convert
from edgesw.cli.program import cli, run
from edgesw.targets.registry import TARGETS

COMMANDS = sorted(
    [
        "bench",
        "compare",
        "convert",
        "demo-app",
        "detect",
        "doctor",
        "generate",
        "inspect",
        "push",
        "recipes",
        "report",
        "study",
        "validate",
        "verify",
    ]
)


def test_the_installed_script_says_its_version() -> None:
    """The first thing that a bug report asks for."""
    script = Path(sys.executable).with_name("edgesw")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"edgesw, version {library.__version__}\n"
    assert done.stderr == ""


def test_help_answers_at_once() -> None:
    """Libraries that take seconds to load are needed only for the work: nobody should wait for them to read help."""
    program = (
        "import sys; from edgesw.cli.program import run\n"
        f"for words in {[[], *([command] for command in COMMANDS)]}:\n"
        "    assert run([*words, '--help']) == 0\n"
        "slow = {'torch', 'coremltools', 'onnx', 'onnxruntime', 'transformers', 'matplotlib', 'huggingface_hub'}\n"
        "slow |= {'numba', 'edgesw.compress.kmeans'}\n"
        "slow &= set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_what_a_command_takes(command: str) -> None:
    ran = edgesw(command, "--help")
    assert ran.code == 0 and ran.err == ""
    assert ran.out.startswith(f"Usage: edgesw {command} ")
    for parameter in cli.commands[command].params:
        assert (
            parameter.opts[-1] if parameter.param_type_name == "option" else parameter.human_readable_name
        ) in ran.out
    assert edgesw(command, "-h").out == ran.out


def test_the_commands_are_these() -> None:
    """A command that is not registered is a command that nobody has."""
    assert sorted(cli.commands) == COMMANDS


def test_every_target_can_be_asked_for() -> None:
    """A target that is in the registry and not on the command line cannot be used."""
    (choice,) = (option.type for option in convert.params if option.name == "targets")
    assert [choice.convert(name, None, None) for name in TARGETS] == list(TARGETS)
    assert_one_line(edgesw("convert", "model", "--target", "tflite"), 2, "'tflite' is not one of 'coreml', 'onnx'")
    assert "[coreml|onnx]" in edgesw("convert", "--help").out
    assert all(name == target.name for name, target in TARGETS.items())
    assert len({target.path(target.options()) for target in TARGETS.values()}) == len(TARGETS), (
        "one would overwrite the other"
    )


def test_no_command_shows_the_help() -> None:
    ran = edgesw()
    assert ran.code == 2
    assert ran.out == "", "a script that pipes our output would take the help for data"
    assert ran.err.startswith("Usage: edgesw ") and "convert" in ran.err


def test_wrong_words_are_one_line_that_says_where_help_is() -> None:
    assert_one_line(edgesw("convrt"), 2, "No such command 'convrt'", "Try 'edgesw --help'.")
    assert_one_line(edgesw("detect", "--bogus", "x"), 2, "No such option '--bogus'", "Try 'edgesw detect --help'.")
    assert_one_line(edgesw("convert"), 2, "Missing argument 'MODEL'", "Try 'edgesw convert --help'.")
    assert_one_line(edgesw("generate", "x"), 2, "Missing argument 'PROMPT'", "Try 'edgesw generate --help'.")
    for words in (["convert", "--bit", "4", "x"], ["convrt"], ["detect"]):
        line = edgesw(*words).err.replace("MODEL...", "MODEL")  # as many as are given
        assert "?." not in line and ".." not in line, line


def test_detect_names_the_super_weight(tiny_llama: Path) -> None:
    """What the whole product stands on: where the scalar is, told so that it can be looked up in the checkpoint."""
    ran = edgesw("detect", tiny_llama)
    assert ran.code == 0 and ran.err == ""
    (row,) = (line.split() for line in ran.out.splitlines() if line.split()[:3] == [str(n) for n in SUPER_WEIGHT])
    assert row[3] == "1.250"


def test_detect_as_json(tiny_llama: Path) -> None:
    ran = edgesw("detect", tiny_llama, "--json")
    assert ran.code == 0 and ran.err == ""
    found = json.loads(ran.out)
    assert found["model"] == str(tiny_llama) and found["origin"] == "local folder" and found["revision"] is None
    (weight,) = found["super_weights"]
    assert (weight["layer"], weight["row"], weight["column"]) == SUPER_WEIGHT
    assert weight["value"] == 1.25
    assert weight["value"] * weight["input_spike"] == pytest.approx(weight["output_spike"], rel=1e-3)
    (activation,) = found["super_activations"]
    assert (activation["channel"], activation["tokens"]) == (SUPER_WEIGHT[1], [1])  # after BOS
    assert activation["from_super_weight"]


def test_a_model_without_super_weights_says_so(tmp_path: Path) -> None:
    """An empty table would leave the user wondering whether detection worked."""
    import tiny

    tiny.save_llama(tmp_path / "plain", steps=0)
    assert "No super weights found." in edgesw("detect", tmp_path / "plain").out
    assert json.loads(edgesw("detect", tmp_path / "plain", "--json").out)["super_weights"] == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_narrow_terminal_cuts_no_figures(
    tiny_llama: Path, tiny_package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal of 80 columns once showed `verd…  perplex…  52.…`: hours of work, and the result unreadable."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    validate = ["validate", tiny_package, "--against", tiny_llama, "--target", "onnx", "--windows", 1, "--tokens", 16]
    for words in (["convert", tiny_llama, "--target", "onnx", "--dry-run"], ["detect", tiny_llama], validate):
        with contextlib.redirect_stdout(Terminal()) as out, contextlib.redirect_stderr(io.StringIO()):
            assert run([str(word) for word in words]) in (0, 3)
        assert "\x1b[" in out.getvalue(), "it was not taken for a terminal, so this tests nothing"
        assert "…" not in out.getvalue()


def test_whole_runs_say_nothing_but_their_results(tiny_llama: Path, tiny_package: Path, tmp_path: Path) -> None:
    """Warnings of the libraries below (they write past Python's stderr too) would drown what we have to say.

    And a second conversion, in another process with other hash seeds, gives the same bytes: packages can be compared,
    cached and attested.
    """
    convert = ["convert", str(tiny_llama), "--target", "coreml", "--target", "onnx", "-o", str(tmp_path / "again")]
    validate = ["validate", str(tmp_path / "again"), "--against", str(tiny_llama), "--windows", "1", "--tokens", "32"]
    generate = ["generate", str(tmp_path / "again"), "The ", "--max-tokens", "3"]
    program = (
        f"from edgesw.cli.program import run\nfor words in {[convert, validate, generate]}: assert run(words) == 0"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == ""
    assert done.returncode == 0
    model, *_, last = done.stdout.splitlines()
    assert model.startswith(f"{tmp_path / 'again' / 'model.mlpackage'}  ")
    assert last.startswith("The ")
    assert [path.name for path in tmp_path.iterdir()] == ["again"], "something was written beside the package"
    ours = {p.relative_to(tiny_package): p.read_bytes() for p in tiny_package.rglob("*") if p.is_file()}
    assert {
        p.relative_to(tmp_path / "again"): p.read_bytes() for p in (tmp_path / "again").rglob("*") if p.is_file()
    } == ours


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_under_stdout_is_one_line() -> None:
    """`edgesw ... > report.txt` on a full disk: exit code 0 would make a script go on with half a report."""
    program = "from edgesw.cli import main; main(['--help'])"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: standard output cannot be written to (No space left on device): ")
    assert done.stderr.count("\n") == 1
