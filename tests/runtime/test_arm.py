"""ARM processors: models must run there as they run here. Only slow tests emulate one: that takes minutes."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import assert_one_line, edgesw

from benchmarks.quality.arm_matrices import Measured, cases, measure
from edgesw.errors import EdgeswError, PackageError, UsageError
from edgesw.package.manifest import read_manifest
from edgesw.runtime.arm_decoder import Arm64Decoder
from edgesw.runtime.arm_machine import arm64, this_machine
from edgesw.targets.registry import open_decoder

EMULATES = sys.platform == "linux" and platform.machine() == "x86_64" and shutil.which("apt-get") is not None


def test_the_guest_is_the_same_decoder(tiny_package: Path) -> None:
    """Its logits are reported as the processor's: a mistake in its cache or mask would be blamed on the processor."""
    ours = open_decoder(tiny_package, read_manifest(tiny_package), "onnx")
    guest = Arm64Decoder(tiny_package / "model.onnx", 64, this_machine())
    ids = np.arange(5, 45)
    for _ in range(2):  # the second time after a reset
        pieces = [guest.step(ids[at:to]) for at, to in [(0, 17), (17, 18), (18, 40)]]
        assert np.array_equal(
            np.concatenate(pieces), np.concatenate([ours.step(ids[at:to]) for at, to in [(0, 17), (17, 18), (18, 40)]])
        )
        guest.reset()
        ours.reset()
    with pytest.raises(UsageError, match="holds 64 tokens"):
        guest.step(np.arange(65))


def test_a_model_that_does_not_load_ends_in_one_line(tmp_path: Path) -> None:
    """The process at the other end of the pipe knows the reason, and must pass it on."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(PackageError, match=r"cannot run it: .*model.onnx") as error:
        Arm64Decoder(path, 64, this_machine())
    assert "\n" not in str(error.value)


def test_products_here_are_as_exact_as_8_bits_are(tmp_path: Path) -> None:
    """The errors that ARM must not exceed: 8 bits cost half a percent, a spike the 31 other values of its block."""
    found = measure([(this_machine(), ())], tmp_path)
    assert [each.case for each in found] == list(cases())
    shipped = [each for each in found if each.case.shipped]
    for each in shipped:
        (error,) = each.errors.values()
        assert error < (0.2 if each.case.spike and not each.case.held_out else 0.015), each.case.name
        assert each.wrong(this_machine().name) == []
    worse = Measured(shipped[0].case, {"here": 0.005, "there": 0.009, "lost": float("nan")})
    assert worse.wrong("here") == ["there", "lost"]


def test_another_processor_is_refused() -> None:
    with pytest.raises(UsageError, match="choose from max, neoverse-n1, cortex-a53"):
        arm64("z80", lambda *_: None)


def test_a_package_without_onnx_has_nothing_for_arm(tiny_llama: Path, converted: Callable[..., Path]) -> None:
    package = converted("--target", "coreml", "--calibrate", "none")
    ran = edgesw("validate", package, "--against", tiny_llama, "--runtime", "arm64:max")
    assert_one_line(ran, 2, "has no onnx model")


@pytest.mark.slow
@pytest.mark.skipif(not EMULATES, reason="ARM is emulated with Debian's packages, on x86-64 Linux")
def test_packages_are_as_exact_on_arm_as_here(tiny_package: Path, tiny_llama: Path) -> None:
    """KleidiAI's 4-bit products lose a token with a super activation: packages must not use them."""
    try:
        arm64("max", lambda *_: None)
    except EdgeswError as error:
        pytest.skip(str(error))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "arm-matrices", "--cpu", "max", "--cpu", "neoverse-n1", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == len(list(cases()))
    lost = [each for each in found if each["errors"]["arm64 max, emulated"] > 0.5]
    assert lost and not any(each["shipped"] for each in lost), "the danger is real, and packages are out of it"
    ran = edgesw(
        "validate", tiny_package, "--against", tiny_llama, "--target", "onnx", "--runtime", "arm64:neoverse-n1",
        "--windows", 2, "--tokens", 128, "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    here, there = json.loads(ran.out)["targets"].values()
    assert abs(there["kl_divergence"] - here["kl_divergence"]) < 0.01
    assert there["runtime"].endswith("arm64 neoverse-n1, emulated")
