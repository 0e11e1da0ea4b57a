"""The share of a package's operations that Core ML would run on each compute unit, from MLComputePlan on a Mac."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from edgesw.formats.coreml_layout import is_corrected
from edgesw.runtime.coreml_interface import read_interface
from edgesw.system.log_filter import coremltools

UNITS = {"gpu": "CPU_AND_GPU", "ane": "CPU_AND_NE", "cpu": "CPU_ONLY", "all": "ALL"}
"""The words of --compute -> members of coremltools.ComputeUnit."""
_DEVICES = {"MLCPUComputeDevice": "cpu", "MLGPUComputeDevice": "gpu", "MLNeuralEngineComputeDevice": "ane"}


class ComputePlan(Protocol):
    """The part of coremltools.models.compute_plan.MLComputePlan that is used here."""

    model_structure: Any

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any: ...


def unit_shares(plans: Iterable[ComputePlan]) -> dict[str, float]:
    """Unit -> its share of the operations that Core ML places; it does not place constants."""
    counts: Counter[str] = Counter()
    for plan in plans:
        functions = plan.model_structure.program.functions.items()
        for function in (each for name, each in functions if is_corrected(name)):
            for operation in function.block.operations:
                usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
                if usage is not None:
                    counts[_DEVICES[type(usage.preferred_compute_device).__name__]] += 1
    return {unit: count / counts.total() for unit, count in sorted(counts.items())}


def load_plans(packages: Iterable[Path], compute: str | None) -> list[ComputePlan]:
    """Compiles each package and asks Core ML where it would run it, on the units `compute`, or None for those that it
    is made for. Only on a Mac."""
    ct = coremltools()
    from coremltools.models.compute_plan import MLComputePlan

    plans = []
    for package in packages:
        with tempfile.TemporaryDirectory() as folder:
            compiled = ct.models.utils.compile_model(str(package), f"{folder}/model.mlmodelc")
            units = ct.ComputeUnit[UNITS[compute or read_interface(package).compute]]
            plans.append(MLComputePlan.load_from_path(compiled, compute_units=units))
    return plans
