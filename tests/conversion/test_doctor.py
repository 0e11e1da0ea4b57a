"""What can run here, and whether a model fits."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tiny import assert_one_line, edgesw

from edgesw.checkpoint.checkpoint import read_spec
from edgesw.conversion import doctor
from edgesw.conversion.doctor import Finding, _ask_hub, diagnose
from edgesw.conversion.plans import make_plans
from edgesw.conversion.requirements import fit_model
from edgesw.conversion.settings import Settings
from edgesw.system.findings import optional_library
from edgesw.system.machine import available_memory, free_disk, meminfo_bytes, vm_stat_bytes
from edgesw.targets.onnx import OnnxTarget
from edgesw.targets.registry import TARGETS

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.fixture
def offline(offline_hub: Path) -> Path:
    """The hub is not asked: these tests are about something else."""
    return offline_hub


def write_config(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**LLAMA, **changes}))
    return folder


def found(name: str) -> Finding:
    (finding,) = (each for each in diagnose().findings if each.name == name)
    return finding


def test_a_whole_installation_is_found_whole(offline: Path) -> None:
    """A false report of something missing would send the user round in circles."""
    ran = edgesw("doctor")
    assert ran.code == 0 and ran.err == ""
    told = json.loads(edgesw("doctor", "--json").out)
    assert told["to_do"] == [] and told["model"] is None and told["fit"] is None
    there = {each["name"]: each["there"] for each in told["findings"]}
    assert all(there[name] for name in ("edgesw", "torch", "coremltools", "onnx", "onnxruntime", "numba"))
    assert there["hub"] is False
    assert told["memory_bytes"] > 0 and all(size > 0 for size in told["disk_bytes"].values())
    for name in (*there, "Python", "processor", "cores", "memory"):
        assert f"\n{name} " in f"\n{ran.out}"
    assert str(offline) in ran.out, "models are fetched to there"


def test_what_is_missing_is_one_line_that_says_what_to_do(
    offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that is installed and does not load is the usual trouble: looking at versions alone would miss it."""
    (tmp_path / "broken_library.py").write_text("raise OSError('libgomp.so.1: cannot open shared object file')")
    (tmp_path / "broken_library-1.2.dist-info").mkdir()
    (tmp_path / "broken_library-1.2.dist-info" / "METADATA").write_text("Name: broken-library\nVersion: 1.2\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "NEEDED", {"absent-library": "nothing", "broken-library": "nothing"})
    ran = edgesw("doctor", "smollm2-135m")
    assert ran.code == 1
    absent, broken = ran.err.splitlines()
    assert absent == "Error: absent-library is not installed (nothing): pip install absent-library."
    assert "libgomp.so.1" in broken and "pip install --force-reinstall broken-library==1.2" in broken
    assert "broken-library" in ran.out, "the findings are still printed"


def test_what_only_some_want_is_no_fault(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the exit code could not be gated on where onnxruntime-genai has no wheel."""
    absent = optional_library("absent-library", "nobody minds")
    monkeypatch.setattr(OnnxTarget, "findings", lambda self: iter([absent]))
    ran = edgesw("doctor")
    assert ran.code == 0 and "not installed: nobody minds" in ran.out


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A hub on this machine that answers with the status in the list."""
    from huggingface_hub import constants

    status = [200]

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")  # HF_ENDPOINT, as it is read
    yield status
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_hub_is_asked_and_its_silence_is_no_error(endpoint: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a firewall everything works from folders: doctor must say so and not fail."""
    from huggingface_hub import constants

    assert found("hub") == Finding("hub", True, constants.ENDPOINT)
    endpoint[0] = 503
    assert not found("hub").there and "(503)" in found("hub").what
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the port `discard`, where nobody listens
    silent = found("hub")
    assert not silent.there and silent.to_do is None
    assert "does not answer" in silent.what and "\n" not in silent.what
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in found("hub").what


def test_a_model_is_judged_by_its_config_alone(offline: Path, tmp_path: Path) -> None:
    """To know whether 14 GB are worth fetching nobody should have to fetch them."""
    folder = write_config(tmp_path / "seven")
    ran = edgesw("doctor", folder, "--json")
    assert ran.err == ""
    fit = json.loads(ran.out)["fit"]
    assert [each["target"] for each in fit["targets"]] == list(TARGETS)
    assert all(each["verdict"] == "fits" for each in fit["targets"]) == (ran.code == 0)
    assert "with the defaults" in edgesw("doctor", folder).out


def test_a_model_takes_what_a_dry_run_says(offline: Path, tiny_llama: Path) -> None:
    """Two commands that answer one question must not differ."""
    plan = json.loads(edgesw("convert", tiny_llama, "--target", "onnx", "--dry-run", "--json").out)
    (fit,) = (each for each in fit_model(str(tiny_llama), diagnose()).targets if each.target == "onnx")
    assert (fit.memory_bytes, fit.output_bytes) == (plan["memory_bytes"], plan["output_bytes"])


def test_a_model_of_the_hub_is_weighed_before_it_is_fetched(offline: Path) -> None:
    """The config is in the cache and the weights are not: what is still to come must be told."""
    cache = offline / "models--owner--seven"
    write_config(cache / "snapshots" / ("0123456789" * 4))
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123456789" * 4)
    fit = fit_model("owner/seven", diagnose())
    assert fit.origin == "hub owner/seven"
    assert fit.fetch_bytes == pytest.approx(14.48e9, rel=0.01), "Mistral 7B's files, in bfloat16"
    assert "to fetch from the hub" in edgesw("doctor", "owner/seven").out


def test_too_little_memory_says_what_to_do(offline: Path, tmp_path: Path, tiny_llama: Path) -> None:
    """A conversion that the system kills after an hour says nothing at all."""
    here = diagnose()
    large = write_config(tmp_path / "large", hidden_size=65536, intermediate_size=524288, num_hidden_layers=100)
    ran = edgesw("doctor", large)
    assert ran.code == 1 and "too little memory" in ran.out
    for line in ran.err.splitlines():
        assert line.startswith("Error: converting to ") and "close other programs" in line
    wide = str(write_config(tmp_path / "wide", hidden_size=1024, intermediate_size=8192, num_hidden_layers=2))
    less = make_plans(read_spec(wide)[1], Settings(("coreml",), calibration="none")).memory_bytes
    (fit, *_) = fit_model(wide, replace(here, memory_bytes=less)).targets
    assert fit.verdict == "too little memory" and fit.to_do is not None and "--calibrate none" in fit.to_do
    (fit, *_) = fit_model(str(tiny_llama), replace(here, memory_bytes=None)).targets
    assert fit.verdict == "fits, if memory does" and fit.to_do is None


def test_a_target_that_cannot_have_the_model_says_why(offline: Path, tmp_path: Path) -> None:
    """The other target may fit, so its figures must be told too."""
    odd = write_config(tmp_path / "odd", hidden_size=1000, num_attention_heads=50, num_key_value_heads=10)
    ran = edgesw("doctor", odd)
    assert_one_line(replace(ran, out=""), 1, "--target onnx", "heads have 20 channels")
    *_, line = (line.split() for line in ran.out.splitlines() if line.startswith("onnx "))
    assert line == ["onnx", "cannot", "be"]


def test_a_model_that_is_not_there_is_said_after_the_findings(offline: Path, tmp_path: Path) -> None:
    """Without a network the findings are what helps, so they must not be lost to the error."""
    ran = edgesw("doctor", "owner/unknown")
    assert "torch" in ran.out
    assert_one_line(replace(ran, out=""), 1, "not in the cache")
    assert edgesw("doctor", tmp_path / "nothing").code == 2


def test_memory_is_what_the_system_says_is_available() -> None:
    """Total memory would say that everything fits; free memory alone, without caches, that nothing does."""
    assert meminfo_bytes("MemTotal:  8000 kB\nMemFree:  100 kB\nMemAvailable:    5000 kB\n") == 5_120_000
    assert meminfo_bytes("MemTotal:  8000 kB\n") is None
    mac = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
        "Pages free:                               10.\nPages active:                         174542.\n"
        "Pages inactive:                          20.\nPages speculative:                      3.\n"
    )
    assert vm_stat_bytes(mac) == 33 * 16384
    assert vm_stat_bytes("") is None
    assert (available_memory() or 0) > 1 << 20


def test_disk_is_that_of_a_folder_to_come(tmp_path: Path) -> None:
    """The hub's cache is not there before the first model."""
    assert free_disk(tmp_path / "not" / "yet") == pytest.approx(free_disk(tmp_path), rel=0.1)


def test_a_look_up_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit of a request does not hold for the look-up of the hub's address."""
    monkeypatch.setattr("edgesw.conversion.doctor.HUB_SECONDS", 0.2)
    monkeypatch.setattr("edgesw.conversion.doctor._hub", lambda: time.sleep(30))
    began = time.monotonic()
    answer = _ask_hub()()
    assert time.monotonic() - began < 5
    assert (answer.name, answer.there) == ("hub", False) and "does not answer within" in answer.what


@pytest.mark.slow
def test_the_parts_of_coremltools_that_are_left_out_load_when_they_are_asked_for() -> None:
    """A program that uses edgesw may use them, and transformers, as well."""
    program = """
import sys
from edgesw.system.log_filter import coremltools
ct = coremltools()
assert "transformers" not in sys.modules and "coremltools.optimize.torch" not in sys.modules
import transformers
assert ct.optimize.torch.palettization.DKMPalettizer
try:
    ct.optimize.none
except AttributeError as error:
    assert "none" in str(error)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
