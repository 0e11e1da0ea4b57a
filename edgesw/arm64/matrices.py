"""Products with single matrices on ARM processors, beside this machine and float: with super activations and without.

    python -m edgesw.arm64.matrices [--cpu NAME ...]

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

from edgesw.arm64.machine import CPUS, Machine, arm64, this_machine
from edgesw.cli.progress import Bar
from edgesw.cli.tables import print_json, print_table
from edgesw.compress.decoder import compress_matrix
from edgesw.compress.matrix import CompressedMatrix, Scheme
from edgesw.emit.external_data import ExternalData
from edgesw.emit.onnx_graph import OnnxGraph
from edgesw.emit.onnx_linear import product, write_blocks
from edgesw.errors import EdgeswError

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

    @property
    def shipped(self) -> bool:
        """Whether packages have such products: with zero points where codes are narrow."""
        return self.scheme.zero_points or self.scheme.bits == 8

    @property
    def name(self) -> str:
        parts = (self.scheme, "super activation" if self.spike else "", f"{self.tokens} tokens")
        return ", ".join(str(part) for part in parts if part)


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


def measure(machines: Sequence[tuple[Machine, tuple[str, ...]]], folder: Path) -> list[Measured]:
    """All cases on each machine with its session options."""
    draw = np.random.default_rng(0)
    expected = {}
    for at, case in enumerate(cases()):
        matrix = compress_matrix(draw.normal(0, 0.05, (ROWS, COLUMNS)).astype(np.float32), case.scheme)
        x = draw.normal(0, 1, (1, case.tokens, COLUMNS)).astype(np.float32)
        quiet = np.sqrt(np.mean((x @ matrix.dense().T) ** 2))
        if case.spike:
            x[:, :, SPIKING] = SPIKE
        write_case(folder / f"{at:02}.onnx", matrix)
        np.save(folder / f"{at:02}.npy", x)
        expected[at] = case, x.astype(np.float64) @ matrix.dense().T.astype(np.float64), quiet
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


def write_case(path: Path, matrix: CompressedMatrix) -> None:
    """A model with this one product, as a package has it."""
    with ExternalData(path.with_name(path.name + ".data")) as data:
        graph = OnnxGraph(data)
        graph.node("Identity", [product(graph, "x", "product", write_blocks(graph, "product", [matrix]))], "y")
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
