"""Products with single matrices on ARM processors, beside this machine and float: with super activations and without.

    python -m benchmarks.arm_matrices [--cpu NAME ...]

The forms are those that onnxruntime has kernels for; the one that packages have, marked, must be as exact everywhere as
here. Exits with 1 when it is not.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from onnx import TensorProto, helper

from edgesw.cli.progress import Bar
from edgesw.cli.tables import print_json, print_table
from edgesw.compress.decoder import compress_matrix
from edgesw.compress.matrix import CompressedMatrix, Scheme
from edgesw.emit.external_data import ExternalData
from edgesw.emit.onnx_graph import OnnxGraph
from edgesw.emit.onnx_linear import product, write_blocks
from edgesw.emit.onnx_w8a8 import w8a8_product
from edgesw.errors import EdgeswError
from edgesw.formats.activation_quantization import RANGES
from edgesw.runtime.arm_machine import CPUS, Machine, arm64, this_machine

ROWS, COLUMNS, SPIKING, SPIKE = 576, 1536, 777, 2000.0
# With int8 rounding alone errors are 0.5% of an output; other kernels round in another order.
SLACK = 1.1
NO_KLEIDIAI = "mlas.disable_kleidiai=1"


@dataclass(frozen=True)
class Case:
    """A product: how its matrix is stored, whether an input spikes, how many tokens there are at once."""

    scheme: Scheme
    spike: bool
    tokens: int
    ranges: str | None = None
    """Those of `convert --activations 8`: then it is a product of integers."""
    held_out: bool = False
    """Whether the column of the spike is."""

    @property
    def shipped(self) -> bool:
        """Whether packages have such products: with zero points where codes are narrow, and with spiking columns held
        out where inputs are rounded within shared ranges."""
        if self.ranges is not None:
            return self.held_out or not self.spike
        return self.scheme.zero_points or self.scheme.bits == 8

    @property
    def name(self) -> str:
        spike = "super activation" + (" held out" if self.held_out else "") if self.spike else ""
        within = {"token": "a token's range", "tensor": "a call's range", "static": "a fixed range"}
        stored = self.scheme if self.ranges is None else f"integers of 8 bits, {within[self.ranges]}"
        return ", ".join(str(part) for part in (stored, spike, f"{self.tokens} tokens") if part)


@dataclass(frozen=True)
class Measured:
    """Root mean square errors of a case, relative to its outputs without the spike, by the machine's name."""

    case: Case
    errors: dict[str, float]

    def wrong(self, here: str) -> list[str]:
        """Machines on which a product that packages have is less exact than `here`."""
        most = SLACK * self.errors[here] + 1e-4
        return [name for name, error in self.errors.items() if self.case.shipped and not error <= most]


def cases() -> Iterator[Case]:
    for bits in (2, 4, 8):
        for zero_points in (False, True):
            for spike in (False, True):
                for tokens in (1, 17):
                    yield Case(Scheme("block", bits, 32, zero_points), spike, tokens)
    for ranges in RANGES:
        for spike, held_out in ((False, False), (True, False), (True, True)):
            for tokens in (1, 17):
                yield Case(Scheme("block", 8, COLUMNS), spike, tokens, ranges, held_out)


def measure(machines: Sequence[tuple[Machine, tuple[str, ...]]], folder: Path) -> list[Measured]:
    """All cases on each machine with its session options."""
    draw = np.random.default_rng(0)
    expected = {}
    for at, case in enumerate(cases()):
        weights = draw.normal(0, 0.05, (ROWS, COLUMNS)).astype(np.float32)
        matrix = compress_matrix(weights, case.scheme, columns=[SPIKING] if case.held_out else ())
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
    """A model with this one product, as a package has it."""
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


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--cpu", "cpus", multiple=True, type=click.Choice(list(CPUS)), help="Only this one; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def main(ctx: click.Context, cpus: tuple[str, ...], as_json: bool) -> None:
    with Bar() as bar, tempfile.TemporaryDirectory() as folder:
        machines: list[tuple[Machine, tuple[str, ...]]] = [(this_machine(), ())]
        for cpu in cpus or CPUS:
            machine = arm64(cpu, bar)
            if machine == this_machine():  # an ARM machine, whatever is asked for
                machines.append((replace(machine, name=f"{machine.name}, no KleidiAI"), (NO_KLEIDIAI,)))
                break
            machines.append((machine, ()))
            if cpu != "cortex-a53":
                machines.append((replace(machine, name=f"{machine.name}, no KleidiAI"), (NO_KLEIDIAI,)))
        bar("Running products", "", 0, 1)
        found = measure(machines, Path(folder))
    names = [machine.name for machine, _ in machines]
    if as_json:
        print_json([{"case": each.case.name, "shipped": each.case.shipped, "errors": each.errors} for each in found])
    else:
        rows = [
            (each.case.name, "*" if each.case.shipped else "", *(f"{each.errors[name]:.4f}" for name in names))
            for each in found
        ]
        print_table("Errors beside outputs without a spike (* is what packages have)", ("product", "", *names), rows)
    wrong = {name for each in found for name in each.wrong(names[0])}
    for name in sorted(wrong):
        click.echo(f"Error: on {name} products that packages have are less exact than here.", err=True)
    ctx.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
