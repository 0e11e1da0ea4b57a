"""A whole model that coremltools compresses, run by the interpreter and compared with its decompressed weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mil_build import reload

from edgesw.runtime.mil import MilProgram

WIDE, DEEP = 128, 256


def gated_mlp() -> Any:
    """A program of three matrices, as a decoder's layer has them."""
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    random = np.random.default_rng(2)

    def weight(rows: int, columns: int) -> np.ndarray:
        return (random.standard_t(4, (rows, columns)) / np.sqrt(columns)).astype(np.float16)

    @mb.program(input_specs=[mb.TensorSpec((1, 5, WIDE), dtype=types.fp16)], opset_version=ct.target.iOS18)  # type: ignore[untyped-decorator]
    def program(x: Any) -> Any:
        gate = mb.silu(x=mb.linear(x=x, weight=weight(DEEP, WIDE)))
        up = mb.linear(x=x, weight=weight(DEEP, WIDE))
        return mb.linear(x=mb.mul(x=gate, y=up), weight=weight(WIDE, DEEP), name="y")

    return ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT16,
        skip_model_load=True,
    )


def configs() -> dict[str, Any]:
    import coremltools.optimize.coreml as cto

    def all_of(op: Any) -> Any:
        return cto.OptimizationConfig(global_config=op)

    return {
        "palettes per tensor": (cto.palettize_weights, all_of(cto.OpPalettizerConfig(mode="kmeans", nbits=4))),
        "palettes of 32 rows": (
            cto.palettize_weights,
            all_of(
                cto.OpPalettizerConfig(
                    mode="uniform", nbits=3, granularity="per_grouped_channel", group_size=32, channel_axis=0
                )
            ),
        ),
        "blocks": (
            cto.linear_quantize_weights,
            all_of(
                cto.OpLinearQuantizerConfig(
                    mode="linear", dtype="int4", granularity="per_block", block_size=32, weight_threshold=0
                )
            ),
        ),
        "rows with zero points": (
            cto.linear_quantize_weights,
            all_of(cto.OpLinearQuantizerConfig(mode="linear", dtype="uint8", granularity="per_channel")),
        ),
    }


@pytest.mark.parametrize("name", ["palettes per tensor", "palettes of 32 rows", "blocks", "rows with zero points"])
def test_a_model_that_coremltools_compressed_gives_what_its_decompressed_weights_give(
    name: str, tmp_path: Path
) -> None:
    """Every Core ML figure is measured with the interpreter: if it decoded weights in another way, the figures would be
    those of another model."""
    import coremltools.optimize.coreml as cto

    compress, config = configs()[name]
    compressed = compress(gated_mlp(), config)
    compressed.save(str(tmp_path / "compressed.mlpackage"))
    cto.decompress_weights(compressed).save(str(tmp_path / "plain.mlpackage"))
    x = np.random.default_rng(3).standard_normal((1, 5, WIDE)).astype(np.float16)
    for precision in ("float32", "float16"):
        programs = {
            kind: MilProgram(tmp_path / f"{kind}.mlpackage", precision=precision) for kind in ("compressed", "plain")
        }
        ops = {kind: {step.op for step in program._plan.steps} for kind, program in programs.items()}
        assert ops["compressed"] == ops["plain"], "only the weights are stored in another way"
        results = {}
        for kind, program in programs.items():
            ((_, given),) = program.inputs.items()
            (entered,) = program.inputs
            assert given == x.shape
            dtype = program._plan.inputs[entered].dtype.array
            (results[kind],) = program.predict({entered: x.astype(dtype)}).values()
        exact = gated(tmp_path / "plain.mlpackage", x.astype(np.float32))
        assert np.allclose(results["compressed"], results["plain"], rtol=2e-3, atol=2e-3)
        assert np.abs(results["compressed"] - exact).max() < 0.01 * np.abs(exact).max()


def gated(package: Path, x: np.ndarray) -> np.ndarray:
    """The same in numpy, with the decompressed weights as coremltools reads them."""
    ops = [op for op in reload(package).operations if op.op_type == "linear"]
    gate, up, down = (np.asarray(op.weight.val, np.float32) for op in ops)
    h = x @ gate.T
    return np.asarray((h / (1 + np.exp(-h)) * (x @ up.T)) @ down.T)
