"""Products with single matrices on ARM processors, compared with this machine and with float.

Every scheme that onnxruntime has kernels for, with and without a super activation. Those that packages contain (*) must
be as exact on ARM as here: exits with 1 when they are not. ARM is emulated on x86-64 Linux with Debian's tools, which
fetches 200 MB once; on an ARM machine only that machine runs. `scripts/arm64-check.sh` calls this.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.printing import Stages, table
from edgesw.compress.block_scheme import BlockScheme
from edgesw.compress.compression import compress_matrix
from edgesw.compress.hold_out import MatrixHoldOut
from edgesw.compress.matrix import CompressedMatrix
from edgesw.emit.external_data import ExternalData
from edgesw.emit.onnx_graph import OnnxGraph
from edgesw.emit.onnx_linear import product, write_blocks
from edgesw.emit.onnx_w8a8 import w8a8_product
from edgesw.errors import EdgeswError
from edgesw.formats.activation_quantization import RANGES
from edgesw.runtime.arm_machine import CPUS, Machine, arm64, this_machine

BENCHMARK = Benchmark(
    "Errors of single products of an ONNX package on emulated ARM processors, compared with this machine.",
    minutes=5,
    docs=(Section("docs/formats.md", "On ARM"),),
)
ROWS, COLUMNS, SPIKING, SPIKE = 576, 1536, 777, 2000.0
# 8-bit inputs alone cost 0.5% of an output; other kernels round in another order.
SLACK = 1.1
NO_KLEIDIAI = "mlas.disable_kleidiai=1"


@dataclass(frozen=True)
class Case:
    """A product: how its matrix is stored, whether an input channel is an outlier, and the number of tokens."""

    scheme: BlockScheme
    spike: bool
    tokens: int
    ranges: str | None = None
    """As with `convert --activations 8`: then it is a product of integers."""
    held_out: bool = False
    """Whether the outlier channel is held out."""

    @property
    def shipped(self) -> bool:
        """Whether packages contain such products: with zero points where codes are narrow, and with outlier channels
        held out where inputs are quantized."""
        if self.ranges is not None:
            return self.held_out or not self.spike
        return self.scheme.zero_points or self.scheme.bits == 8

    @property
    def name(self) -> str:
        spike = "super activation" + (" held out" if self.held_out else "") if self.spike else ""
        stored = self.scheme if self.ranges is None else f"8-bit integers, {self.ranges}"
        tokens = "1 token" if self.tokens == 1 else f"{self.tokens} tokens"
        return ", ".join(str(part) for part in (stored, spike, tokens) if part)


@dataclass(frozen=True)
class Measured:
    """Root mean square errors of a case, relative to its outputs without the outlier, by the machine's name."""

    case: Case
    errors: dict[str, float]

    def wrong(self, here: str) -> list[str]:
        """Machines on which a product that packages contain is less exact than `here`."""
        most = SLACK * self.errors[here] + 1e-4
        return [name for name, error in self.errors.items() if self.case.shipped and not error <= most]


def cases() -> Iterator[Case]:
    for bits in (2, 4, 8):
        for zero_points in (False, True):
            for spike in (False, True):
                for tokens in (1, 17):
                    yield Case(BlockScheme(bits, 32, zero_points), spike, tokens)
    for ranges in RANGES:
        for spike, held_out in ((False, False), (True, False), (True, True)):
            for tokens in (1, 17):
                yield Case(BlockScheme(8, COLUMNS), spike, tokens, ranges, held_out)


def measure(machines: Sequence[tuple[Machine, tuple[str, ...]]], folder: Path) -> list[Measured]:
    """Runs all cases on each machine with its session options."""
    draw = np.random.default_rng(0)
    expected = {}
    for at, case in enumerate(cases()):
        weights = draw.normal(0, 0.05, (ROWS, COLUMNS)).astype(np.float32)
        matrix = compress_matrix(weights, case.scheme, hold_out=MatrixHoldOut((SPIKING,) if case.held_out else ()))
        stored = matrix.dequantize()
        x = draw.normal(0, 1, (1, case.tokens, COLUMNS)).astype(np.float32)
        quiet = np.sqrt(np.mean((x @ stored.T) ** 2))
        if case.spike:
            x[:, :, SPIKING] = SPIKE
        seen = np.delete(x, SPIKING, axis=2) if case.held_out else x
        write_case(folder / f"{at:02}.onnx", matrix, case.ranges, (float(seen.min()), float(seen.max())))
        np.save(folder / f"{at:02}.npy", x)
        expected[at] = case, x.astype(np.float64) @ stored.T.astype(np.float64), quiet
    errors: dict[int, dict[str, float]] = {at: {} for at in expected}
    for number, (machine, settings) in enumerate(machines):
        command = machine.arguments("cases", str(folder), str(number), *settings)
        done = subprocess.run(command, env=machine.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EdgeswError(f"{machine.name}: onnxruntime failed: {(done.stderr.splitlines() or ['?'])[-1]}")
        for at, (_, exact, quiet) in expected.items():
            got = np.load(folder / f"{at:02}.{number}.npy")
            errors[at][machine.name] = float(np.sqrt(np.mean((got - exact) ** 2)) / quiet)
    return [Measured(case, errors[at]) for at, (case, _, _) in expected.items()]


def write_case(path: Path, matrix: CompressedMatrix, ranges: str | None, bounds: tuple[float, float]) -> None:
    """Writes a model with this one product, as a package has it."""
    with ExternalData(path.with_name(path.name + ".data")) as data:
        graph = OnnxGraph(data)
        if ranges is None:
            made = product(graph, "x", "product", write_blocks(graph, "product", [matrix]))
        else:
            made = w8a8_product(graph, "x", "product", [matrix], ranges, bounds)
        graph.node("Identity", [made], "y")
    shapes = (("x", matrix.shape[1]), ("y", matrix.shape[0]))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "tokens", size]) for name, size in shapes)
    graph.save(path, "product", [x], [y])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cpu", choices=CPUS, action="append", help="only this one; repeatable")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(given: argparse.Namespace) -> None:
    machines = _machines(given.cpu or list(CPUS))
    with tempfile.TemporaryDirectory() as folder:
        found = measure(machines, Path(folder))
    names = [machine.name for machine, _ in machines]
    if given.json:
        print(json.dumps([{"case": m.case.name, "shipped": m.case.shipped, "errors": m.errors} for m in found]))
    else:
        rows = [
            (each.case.name, "*" if each.case.shipped else "", *(f"{each.errors[name]:.4f}" for name in names))
            for each in found
        ]
        print("Errors relative to outputs without a super activation; packages contain the products marked *.\n")
        print(table(("product", "", *names), rows, left=2))
    if wrong := sorted({name for each in found for name in each.wrong(names[0])}):
        sys.exit(f"Error: products that packages contain are less exact than here on {', '.join(wrong)}.")


def _machines(cpus: Sequence[str]) -> list[tuple[Machine, tuple[str, ...]]]:
    """This machine and the ARM ones, with and without KleidiAI's kernels, each with its session options."""
    machines: list[tuple[Machine, tuple[str, ...]]] = [(this_machine(), ())]
    for cpu in cpus:
        machine = arm64(cpu, Stages())
        if machine == this_machine():  # an ARM machine, whatever is asked for
            machines.append((replace(machine, name=f"{machine.name}, no KleidiAI"), (NO_KLEIDIAI,)))
            break
        machines.append((machine, ()))
        if cpu != "cortex-a53":
            machines.append((replace(machine, name=f"{machine.name}, no KleidiAI"), (NO_KLEIDIAI,)))
    return machines
