"""Peers in the quality table: their values are those of their own runtimes, and their bytes those of their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.peers import coremltools_quantizers, llama_cpp_quantizers, onnxruntime_quantizers
from benchmarks.peers.peer import PeerMatrices, Source
from edgesw.checkpoint.checkpoint import open_checkpoint

ROWS = 24


def weights(columns: int) -> np.ndarray:
    """Exact in float16, with a column that is larger than the others."""
    values = np.random.default_rng(0).normal(0, 0.05, (ROWS, columns))
    values[:, 7] *= 20
    return values.astype(np.float16).astype(np.float32)


def by_its_own_tool(values: np.ndarray, config: object, bits: int) -> tuple[np.ndarray, int]:
    """What onnxruntime multiplies with after its own quantizer has rewritten a model, and the bytes that it stored."""
    module = onnxruntime_quantizers._quantization("matmul_nbits_quantizer")
    columns = values.shape[1]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [columns, columns])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [columns, ROWS])],
        [numpy_helper.from_array(np.ascontiguousarray(values.T).astype(np.float16), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    quantizer = module.MatMulNBitsQuantizer(model, bits=bits, block_size=32, algo_config=config)
    quantizer.process()
    model = quantizer.model.model
    stored = sum(numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)
    node = next(node for node in model.graph.node if node.op_type == "MatMulNBits")
    node.attribute.append(helper.make_attribute("accuracy_level", 1))  # float32 inside, not 8-bit activations
    if not any(opset.domain == "com.microsoft" for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.checker.check_model(model, full_check=False, skip_opset_compatibility_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.eye(columns, dtype=np.float16)})[0].T.astype(np.float32), stored


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")  # its own call of torch
@pytest.mark.parametrize(
    ("method", "bits", "columns"),
    [
        ("symmetric", 4, 80),
        ("zero points", 4, 80),
        ("zero points", 8, 80),
        ("zero points", 2, 80),
        ("k-quant", 4, 64),  # its tool packs an odd number of zero points a row wrongly
        ("HQQ", 4, 80),
    ],
)
def test_onnxruntime_would_compute_with_the_same_numbers(method: str, bits: int, columns: int) -> None:
    """Otherwise a peer is shown with an error, or a size, that its users do not see."""
    pytest.importorskip("onnx_ir")
    if not onnxruntime_quantizers.packs(bits):
        pytest.skip(f"onnxruntime {onnxruntime.__version__} has no {bits}-bit quantizer")
    module = onnxruntime_quantizers._quantization("matmul_nbits_quantizer")
    values = weights(columns)
    if method == "k-quant":
        ours, stored = onnxruntime_quantizers.k_quant(values, bits, 32)
        config = module.KQuantWeightOnlyQuantConfig()
    elif method == "HQQ":
        ours, stored = onnxruntime_quantizers.hqq(values, bits, 32)
        config = module.HQQWeightOnlyQuantConfig(block_size=32, bits=bits)
    else:
        symmetric = method == "symmetric"
        ours, stored = onnxruntime_quantizers.rtn(values, bits, 32, symmetric)
        config = module.DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=symmetric, bits=bits)
    theirs, their_bytes = by_its_own_tool(values, config, bits)
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-4)  # it computes in float16
    assert stored == their_bytes


def test_palettes_count_codes_and_entries() -> None:
    """Otherwise coremltools' rows have a wrong size. 24 rows in groups of 16: the nearest divisor is 12, so two."""
    values, stored = coremltools_quantizers.palette(weights(64), 3, 16)
    assert stored == ROWS * 64 * 3 / 8 + 2 * 2**3 * 2
    assert all(len(np.unique(values[start : start + 12])) == 8 for start in (0, 12))


def test_a_matrix_that_a_tool_refuses_is_counted_in_float16() -> None:
    """Otherwise its 16 bits would be missing from the bits per weight."""

    class One:
        def tensor(self, name: str) -> np.ndarray:
            return weights(80)

        def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
            return weights(80)[rows]

    matrices = PeerMatrices(One(), llama_cpp_quantizers.q4_0, (1, 32))
    np.testing.assert_array_equal(matrices.tensor("any"), weights(80))
    assert matrices.bits_per_weight == 16


@pytest.fixture(scope="module")
def source(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The tiny model: rows of 64 and of 160, neither a multiple of 256."""
    checkpoint = open_checkpoint(str(tiny_llama))
    spec = checkpoint.spec
    ones = {name: np.ones(spec.matrix_shape(name)[1], np.float32) for name in spec.matrices()}
    return Source(spec, checkpoint, ones, tmp_path_factory.mktemp("gguf"))


@pytest.mark.parametrize("joined", [False, True])
def test_k_quants_come_back_as_the_matrices_that_went_in(source: Source, joined: bool) -> None:
    """Otherwise a peer would lose because of rows or matrices mixed up here, or have a size that its file has not."""
    pytest.importorskip("llama_cpp")
    from gguf import GGUFReader

    stored = llama_cpp_quantizers.KQuant("Q4_K_M", weighted=False, joined=joined)(source)
    bits = []
    for name in source.spec.matrices():
        values, float_values = stored.tensor(name), source.weights.tensor(name)
        assert values.shape == float_values.shape
        assert np.square(values - float_values).mean() < 0.01 * np.square(float_values).mean()
        bits.append(float_values.size)
    file = GGUFReader(source.folder / "quantized.gguf").tensors
    assert {tensor.tensor_type.name for tensor in file} == ({"Q4_K", "Q6_K"} if joined else {"Q5_0", "Q8_0"})
    assert stored.bits_per_weight == pytest.approx(8 * sum(t.n_bytes for t in file) / sum(bits))


@pytest.mark.parametrize("joined", [False, True])
def test_importance_reaches_the_columns_that_it_is_of(source: Source, joined: bool) -> None:
    """Otherwise 'importance' rows would be worse than llama.cpp is. Important columns must lose less with it."""
    pytest.importorskip("llama_cpp")
    name, columns = "layers.1.gate_proj", [3, 40]
    for values in source.importance.values():
        values[:] = 1
    source.importance[name][columns] = 1e4
    float_values = source.weights.tensor(name)

    def error(weighted: bool) -> float:
        values = llama_cpp_quantizers.KQuant("Q2_K", weighted, joined)(source).tensor(name)
        return float(np.square(values - float_values)[:, columns].mean())

    assert error(weighted=True) < 0.5 * error(weighted=False)
