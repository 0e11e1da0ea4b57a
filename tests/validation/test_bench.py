"""`edgesw bench`: figures that people compare packages by."""

from __future__ import annotations

import json
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny

from edgesw.runtime.compute_plan import unit_shares
from edgesw.validation.bench import measure_speed


class Paced:
    """A decoder whose times are known: half a second for the first prompt, then 20 ms a prompt and 10 ms a token."""

    runtime, context = "paced", 1024

    def __init__(self) -> None:
        self.prompts: list[int] = []
        self.tokens = 0

    def reset(self) -> None:
        self.tokens = 0

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        time.sleep(0.02 if self.prompts else 0.5)
        self.prompts.append(len(ids))
        return np.zeros(8)

    def step(self, ids: np.ndarray) -> np.ndarray:
        time.sleep(0.01)
        self.tokens += len(ids)
        return np.zeros((len(ids), 8))


def test_times_are_those_of_a_warm_decoder() -> None:
    """The first prompt compiles and allocates; a figure with that in it would depend on the order of the runs."""
    decoder = Paced()
    speed = measure_speed(decoder, np.arange(50), 6)
    assert decoder.prompts == [50, 50] and decoder.tokens == 6
    assert 0.02 <= speed.first_token_seconds < 0.4
    assert speed.prefill_per_second == pytest.approx(50 / speed.first_token_seconds)
    assert 5 < speed.decode_per_second <= 100


def test_bench_times_what_runs_here_and_names_the_machine(tiny_package: Path) -> None:
    ran = tiny.edgesw("bench", tiny_package, "--target", "onnx", "--prompts", "4,16", "--tokens", 3, "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["machine"]["cores"] >= 1 and told["machine"]["processor"]
    (result,) = told["results"]
    assert result["target"] == "onnx" and result["runtime"].startswith("onnxruntime")
    assert [speed["prompt"] for speed in result["speeds"]] == [4, 16]
    assert all(speed["decode_per_second"] > 0 for speed in result["speeds"])
    assert 50e6 < result["peak_bytes"] < 4e9, "of the process that ran the model, in bytes"
    assert result["unit_shares"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prompts", "1020"], "do not fit"),
        (["--target", "tflite"], "no tflite model"),
        (["--prompts", "a,b"], "no list of lengths"),
    ],
)
def test_what_cannot_be_timed_ends_in_one_line(tiny_package: Path, options: list[str], message: str) -> None:
    ran = tiny.edgesw("bench", tiny_package, *options)
    assert ran.code == 2 and message in ran.err and ran.err.count("\n") == 1


def test_operations_are_counted_by_the_unit_that_core_ml_prefers() -> None:
    """MLComputePlan exists on a Mac only: these have its attributes, as coremltools documents them."""
    devices = [namedtuple(f"ML{kind}ComputeDevice", [])() for kind in ("CPU", "GPU", "NeuralEngine")]

    def plan(*preferred: int | None) -> Any:
        operations = list(preferred)
        functions = {"main": SimpleNamespace(block=SimpleNamespace(operations=operations))}

        def usage(operation: int | None) -> Any:
            return None if operation is None else SimpleNamespace(preferred_compute_device=devices[operation])

        return SimpleNamespace(
            model_structure=SimpleNamespace(program=SimpleNamespace(functions=functions)),
            get_compute_device_usage_for_mlprogram_operation=usage,
        )

    # Constants have no unit. Chunks are counted together.
    assert unit_shares([plan(0, 2, None, 2), plan(2, 1, None)]) == {"ane": 0.6, "cpu": 0.2, "gpu": 0.2}
