"""Advice: a line about a package that fails, which says where its error is and what measured better there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch

from edgesw.calibration.outlier_channels import outlier_channels
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.compress.compression import compress_matrix
from edgesw.compress.hold_out import MatrixHoldOut
from edgesw.conversion.plans import make_plans
from edgesw.conversion.settings import Settings
from edgesw.errors import UsageError
from edgesw.package.manifest import Manifest
from edgesw.runtime.torch import TorchOps, residual_stream
from edgesw.validation.examine import TOKENS, Examination
from edgesw.validation.matrices import MatrixError


def advise(
    manifest: Manifest, target: str, checkpoint: Checkpoint, ids: np.ndarray, found: Examination
) -> tuple[str, ...]:
    """Lines about a target that failed, whose examination found this, from a window of ids (tokens,) on which it is far
    off: a streamed pass up to the worst matrix, which is then compressed in other ways."""
    if found.failures:
        return ("convert again, and report it if it stays: more bits would be tried in vain",)
    worst = found.worst[0]
    named = ", ".join(f"{each.name} {each.error:.1%}" for each in found.worst)
    options = _alternatives(manifest, target, checkpoint, ids[None, :TOKENS], worst)
    better = ", ".join(f"{error:.1%} {how}" for how, error in options)
    return (f"furthest off: {named}", *([f"{worst.name} would be off by {better}"] if better else []))


def _alternatives(
    manifest: Manifest, target: str, checkpoint: Checkpoint, ids: np.ndarray, worst: MatrixError
) -> list[tuple[str, float]]:
    """(how it could be compressed, the error of its product then), the best first and only what is better. Without
    error compensation, which makes each better still."""
    inputs, weights = _inputs(checkpoint, ids, worst.name), checkpoint.tensor(worst.name)
    squares = inputs.square().mean(0, dtype=torch.float64).numpy()
    product = inputs @ torch.from_numpy(weights).T
    found = []
    for how, settings in _settings(manifest, target, worst.name):
        try:
            plan = make_plans(checkpoint.spec, settings).compressions[target]
        except UsageError:
            continue
        if plan.mixed_precision:  # not a width that the format has
            continue
        scheme = next(matrix.scheme for matrix in plan.matrices if matrix.name == worst.name)
        columns = outlier_channels(squares) if settings.hold_out else ()
        made = compress_matrix(weights, scheme, squares, MatrixHoldOut(columns)).dequantize()
        off = inputs @ torch.from_numpy(made).T - product
        found.append((how, float(off.norm() / product.norm())))
    return sorted((each for each in found if each[1] < worst.error), key=lambda each: each[1])


def _settings(manifest: Manifest, target: str, name: str) -> Iterator[tuple[str, Settings]]:
    """Settings that may be better for a matrix: what is left out put back, more bits, another scheme."""
    own = manifest.settings
    schemes: Mapping[str, list[str]] = manifest.models[target].matrices
    kind = next((text.split()[0] for text, names in schemes.items() if name in names), "block")
    now = Settings((target,), bits=own.bits or 4, scheme=kind, hold_out=own.hold_out)
    if not own.hold_out:
        yield "held out (without --no-hold-out)", replace(now, hold_out=True)
    if manifest.calibration is None:
        yield "with calibration (without --calibrate none)", now
    for bits in (3, 4, 6, 8):
        if bits > now.code_bits:
            yield f"with --bits {bits}", replace(now, bits=bits)
    other = "block" if kind == "palette" else "palette"
    yield f"with --scheme {other}", replace(now, scheme=other)


def _inputs(checkpoint: Checkpoint, ids: np.ndarray, name: str) -> torch.Tensor:
    """The input of a matrix in the float model, (tokens, columns)."""
    seen: list[torch.Tensor] = []

    def observe(observed: str, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> None:
        if observed == name:
            seen.append(x.flatten(0, -2).clone())

    for _ in residual_stream(TorchOps(checkpoint.spec, checkpoint, ids, observe)):
        if seen:
            break
    return seen[0]
