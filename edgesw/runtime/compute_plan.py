"""On which units Core ML would run a package: the share of its operations, as MLComputePlan says on a Mac."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from edgesw.formats.coreml_layout import UNCORRECTED
from edgesw.runtime.coreml_interface import read_interface
from edgesw.system.log_filter import coremltools

UNITS = {"gpu": "CPU_AND_GPU", "ane": "CPU_AND_NE", "cpu": "CPU_ONLY", "all": "ALL"}
"""What --compute calls them -> members of coremltools.ComputeUnit."""
_DEVICES = {"MLCPUComputeDevice": "cpu", "MLGPUComputeDevice": "gpu", "MLNeuralEngineComputeDevice": "ane"}


class ComputePlan(Protocol):
    """The part of coremltools.models.compute_plan.MLComputePlan that is used here."""

    model_structure: Any

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any: ...


def unit_shares(plans: Iterable[ComputePlan]) -> dict[str, float]:
    """Unit -> its share of the operations that Core ML places at all: it places no constants."""
    counts: Counter[str] = Counter()
    for plan in plans:
        functions = plan.model_structure.program.functions.items()
        for function in (each for name, each in functions if not name.endswith(UNCORRECTED)):
            for operation in function.block.operations:
                usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
                if usage is not None:
                    counts[_DEVICES[type(usage.preferred_compute_device).__name__]] += 1
    return {unit: count / counts.total() for unit, count in sorted(counts.items())}


def load_plans(packages: Iterable[Path], compute: str | None) -> list[ComputePlan]:
    """Compile each package and ask Core ML where it would run it, on the units `compute` or those that it is made for;
    only on a Mac."""
    ct = coremltools()
    from coremltools.models.compute_plan import MLComputePlan

    plans = []
    for package in packages:
        with tempfile.TemporaryDirectory() as folder:
            compiled = ct.models.utils.compile_model(str(package), f"{folder}/model.mlmodelc")
            units = ct.ComputeUnit[UNITS[compute or read_interface(package).compute]]
            plans.append(MLComputePlan.load_from_path(compiled, compute_units=units))
    return plans
