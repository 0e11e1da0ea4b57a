"""Each op compared with numpy or torch. All are in one saved program, so that they are tested as a package on disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types
from mil_build import save

from edgesw.errors import PackageError, UnsupportedError
from edgesw.runtime.mil import MilProgram
from edgesw.runtime.mil_ops import OPS

RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


X, P = normal(2, 3, 4) * 2, np.abs(normal(2, 3, 4)) + 0.1
Y = np.array([[1.5], [-0.5], [2.0]], np.float32)
I = RNG.integers(-9, 9, (2, 3, 4)).astype(np.int32)  # noqa: E741
J = np.array([2, -3, 5, 1], np.int32)
Q, K, V = normal(1, 2, 3, 4), normal(1, 2, 5, 4), normal(1, 2, 5, 6)
IMAGE = normal(2, 4, 7, 6)
W, BIAS, GAMMA = normal(5, 4), normal(5), normal(3, 4)
KERNEL, DEPTHWISE, POINT = normal(3, 4, 3, 2), normal(4, 1, 3, 3), normal(8, 4, 1, 1)
MASK, BOOL_MASK = normal(3, 5), np.array([[1, 0, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 1, 1, 1]], bool)
FEEDS = {"x": X, "p": P, "y": Y, "i": I, "j": J, "q": Q, "k": K, "v": V, "image": IMAGE}
N = SimpleNamespace(**FEEDS)
T = SimpleNamespace(**{name: torch.from_numpy(value) for name, value in FEEDS.items()})
Case = tuple[Callable[[Any], Any], Any]
CASES: dict[str, Case] = {}
function: Any


def unary(name: str, reference: Any, source: str = "x", **params: Any) -> None:
    label = re.sub(r"\W+", "_", "_".join([name, source, *(str(v).lower() for v in params.values())]))
    assert label not in CASES
    CASES[label] = (lambda t: getattr(mb, name)(x=getattr(t, source), **params), reference)


def binary(name: str, reference: Any, a: str, b: str) -> None:
    CASES[f"{name}_{a}{b}"] = (lambda t: getattr(mb, name)(x=getattr(t, a), y=getattr(t, b)), reference)


for name, reference in {
    "abs": np.abs(X), "square": X * X, "exp": np.exp(X), "sin": np.sin(X), "cos": np.cos(X), "tanh": np.tanh(X),
    "sigmoid": 1 / (1 + np.exp(-X)), "silu": X / (1 + np.exp(-X)), "relu": np.maximum(X, 0), "erf": torch.erf(T.x),
    "exp2": 2**X, "floor": np.floor(X), "ceil": np.ceil(X), "round": np.round(X), "sign": np.sign(X),
    "softplus": np.log1p(np.exp(X)), "identity": X,
}.items():  # fmt: skip
    unary(name, reference)
unary("abs", np.abs(I), "i")
unary("sqrt", np.sqrt(P), "p")
unary("rsqrt", 1 / np.sqrt(P + 0.5), "p", epsilon=0.5)
unary("rsqrt", 1 / np.sqrt(P), "p")
unary("inverse", 1 / (P + 0.25), "p", epsilon=0.25)
unary("log", np.log(P), "p")
unary("clip", np.clip(X, -0.5, 1.0), alpha=-0.5, beta=1.0)
unary("leaky_relu", np.where(X >= 0, X, X * 0.1), alpha=0.1)
unary("gelu", F.gelu(T.x))
unary("gelu", F.gelu(T.x), mode="EXACT")
unary("gelu", F.gelu(T.x, approximate="tanh"), mode="TANH_APPROXIMATION")
unary("gelu", X / (1 + np.exp(-1.702 * X)), mode="SIGMOID_APPROXIMATION")
# coremltools' documented formula: clip(round(input / scale) + zero point).
SCALES, ZEROS = np.array([0.01, 0.02, 0.05], np.float32), np.array([3, 128, 250], np.uint8)
CASES["quantize_signed"] = (
    lambda t: mb.cast(x=mb.quantize(input=t.x, scale=np.float32(0.02), output_dtype="int8"), dtype="int32"),
    np.clip(np.round(X / np.float32(0.02)), -128, 127).astype(np.int32),
)
CASES["quantize_by_channel"] = (
    lambda t: mb.cast(
        x=mb.quantize(input=t.x, scale=SCALES, zero_point=ZEROS, axis=1, output_dtype="uint8"), dtype="int32"
    ),
    np.clip(np.round(X / SCALES[:, None]) + ZEROS[:, None], 0, 255).astype(np.int32),
)
CASES["dequantize_by_channel"] = (
    lambda t: mb.dequantize(
        input=mb.quantize(input=t.x, scale=SCALES, zero_point=ZEROS, axis=1, output_dtype="uint8"),
        scale=SCALES,
        zero_point=ZEROS,
        axis=1,
    ),
    (np.clip(np.round(X / SCALES[:, None]) + ZEROS[:, None], 0, 255) - ZEROS[:, None]) * SCALES[:, None],
)
unary("cast", np.trunc(X).astype(np.int32), dtype="int32")
unary("cast", I.astype(np.float32), "i", dtype="fp32")
unary("cast", X != 0, dtype="bool")
unary("softmax", torch.softmax(T.x, 1), axis=1)
unary("softmax", torch.softmax(T.x, -1))
unary("l2_norm", X / np.sqrt((X * X).sum() + 1e-6))
unary("shape", np.array([2, 4, 7, 6], np.int32), "image")
for name, function in {"mean": np.mean, "max": np.max, "min": np.min, "sum": np.sum}.items():
    for axes, keep in ([-1], True), ([0, 2], False):
        unary(f"reduce_{name}", function(X, tuple(axes), keepdims=keep), axes=axes, keep_dims=keep)
unary("reduce_sum", I.sum(1, dtype=np.int32), "i", axes=[1], keep_dims=False)
unary("reduce_sum_square", (X * X).sum(-1, keepdims=True), axes=[-1], keep_dims=True)
unary("reduce_l2_norm", np.sqrt((X * X).sum(1)), axes=[1], keep_dims=False)
unary("reduce_argmax", X.argmax(-1).astype(np.int32), axis=-1, keep_dims=False)
CASES["reduce_all"] = (lambda t: mb.reduce_max(x=t.x, keep_dims=True), X.max(keepdims=True))

for name, function in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "real_div": np.divide, "floor_div": np.floor_divide,
    "mod": np.mod, "maximum": np.maximum, "minimum": np.minimum,
}.items():  # fmt: skip
    binary(name, function(X, Y), "x", "y")
    if name != "real_div":
        binary(name, function(I, J), "i", "j")
for name, function in {
    "greater": np.greater, "greater_equal": np.greater_equal, "less": np.less, "less_equal": np.less_equal,
    "equal": np.equal, "not_equal": np.not_equal,
}.items():  # fmt: skip
    binary(name, function(I, J), "i", "j")
binary("pow", P**Y, "p", "y")


def logical(op: str) -> Callable[[Any], Any]:
    return lambda t: getattr(mb, op)(x=mb.greater(x=t.x, y=0.0), y=mb.less(x=t.x, y=1.0))


for name, function in {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}.items():
    CASES[f"logical_{name}"] = (logical(f"logical_{name}"), function(X > 0, X < 1))
CASES["logical_not"] = (lambda t: mb.logical_not(x=mb.greater(x=t.x, y=0.0)), X <= 0)
CASES["select"] = (lambda t: mb.select(cond=mb.greater(x=t.x, y=0.0), a=t.x, b=t.p), np.where(X > 0, X, P))

INDEX = np.array([[2, 0], [1, 2]], np.int32)
TWICE, SCATTERED = normal(2, 3, 3), P.copy()
np.add.at(SCATTERED, (..., [3, 0, 3]), TWICE)
CASES |= {
    "gather_axis1": (lambda t: mb.gather(x=t.x, indices=INDEX, axis=1), X[:, INDEX]),
    "gather_axis_last": (lambda t: mb.gather(x=t.x, indices=[3, 3, 0], axis=-1), X[..., [3, 3, 0]]),
    "gather_scalar": (lambda t: mb.gather(x=t.i, indices=2, axis=1), I[:, 2]),
    "gather_along": (
        lambda t: mb.gather_along_axis(x=t.x, indices=np.zeros((2, 1, 4), np.int32), axis=1), X[:, :1]),
    "scatter": (lambda t: mb.scatter(data=t.p, indices=[3, 0, 3], updates=TWICE, axis=-1, mode="add"), SCATTERED),
    "reshape_minus_one": (lambda t: mb.reshape(x=t.x, shape=[4, -1]), X.reshape(4, 6)),
    "reshape_zero": (lambda t: mb.reshape(x=t.x, shape=[1, 0, -1, 0]), X.reshape(1, 2, 3, 4)),
    "expand_dims": (lambda t: mb.expand_dims(x=t.x, axes=[0, -1]), X[None, ..., None]),
    "squeeze": (lambda t: mb.squeeze(x=mb.expand_dims(x=t.x, axes=[0, 2]), axes=[2]), X[None]),
    "squeeze_all": (lambda t: mb.squeeze(x=t.y), Y[:, 0]),
    "transpose": (lambda t: mb.transpose(x=t.x, perm=[2, 0, -2]), X.transpose(2, 0, 1)),
    "split_even": (lambda t: mb.split(x=t.x, num_splits=2, axis=-1)[1], X[..., 2:]),
    "split_sizes": (lambda t: mb.split(x=t.x, split_sizes=[1, 2], axis=1)[1], X[:, 1:]),
    "concat": (lambda t: mb.concat(values=[t.x, t.p], axis=1), np.concatenate([X, P], 1)),
    "concat_one": (lambda t: mb.concat(values=[t.x], axis=1), X),
    "concat_interleaved": (
        lambda t: mb.concat(values=[t.x, t.p], axis=1, interleave=True), np.stack([X, P], 2).reshape(2, 6, 4)),
    "stack": (lambda t: mb.stack(values=[t.x, t.p], axis=1), np.stack([X, P], 1)),
    "tile": (lambda t: mb.tile(x=t.x, reps=[1, 3, 2]), np.tile(X, (1, 3, 2))),
    "fill": (lambda t: mb.fill(shape=mb.shape(x=t.y), value=2.5), np.full((3, 1), 2.5, np.float32)),
    "range": (lambda t: mb.range_1d(start=1, end=mb.reduce_sum(x=t.j, axes=[0], keep_dims=False), step=2),
              np.array([1, 3], np.int32)),
    "range_float": (lambda t: mb.range_1d(start=mb.reduce_max(x=t.y, keep_dims=False), end=0.5, step=-0.4),
                    np.array([2.0, 1.6, 1.2, 0.8], np.float32)),
    "slice": (lambda t: mb.slice_by_index(x=t.x, begin=[0, 1, -3], end=[2, 3, -1]), X[:, 1:3, -3:-1]),
    "slice_masks": (
        lambda t: mb.slice_by_index(x=t.x, begin=[9, 1, 1], end=[1, 9, 1], stride=[1, 1, 2],
                                    begin_mask=[True, False, False], end_mask=[False, True, True]), X[:1, 1:, 1::2]),
    "slice_squeeze": (
        lambda t: mb.slice_by_index(x=t.x, begin=[1, 0, -1], end=[0, 3, 0], squeeze_mask=[True, False, True]),
        X[1, :, -1]),
    "slice_backwards": (
        lambda t: mb.slice_by_index(x=t.x, begin=[0, 2, 3], end=[2, 0, 0], stride=[1, -1, -2],
                                    end_mask=[False, False, True]), X[:2, 2:0:-1, 3::-2]),
    "slice_by_size": (lambda t: mb.slice_by_size(x=t.x, begin=[1, 0, 2], size=[1, 2, -1]), X[1:, :2, 2:]),
    "linear": (lambda t: mb.linear(x=t.x, weight=W, bias=BIAS), X @ W.T + BIAS),
    "linear_no_bias": (lambda t: mb.linear(x=t.x, weight=W), X @ W.T),
    "matmul": (lambda t: mb.matmul(x=t.k, y=t.q, transpose_y=True), K @ Q.swapaxes(-1, -2)),
    "matmul_transpose_x": (lambda t: mb.matmul(x=t.k, y=t.v, transpose_x=True), K.swapaxes(-1, -2) @ V),
    "matmul_broadcast": (lambda t: mb.matmul(x=t.q, y=W, transpose_y=True), Q @ W.T),
    "layer_norm": (lambda t: mb.layer_norm(x=t.x, axes=[1, 2], gamma=GAMMA, beta=GAMMA * 2, epsilon=1e-3),
                   F.layer_norm(T.x, (3, 4), torch.from_numpy(GAMMA), torch.from_numpy(GAMMA * 2), 1e-3)),
    "layer_norm_middle": (lambda t: mb.layer_norm(x=t.x, axes=[1], gamma=Y[:, 0]),
                          F.layer_norm(T.x.mT, (3,), torch.from_numpy(Y[:, 0])).mT),
    "conv_point": (lambda t: mb.conv(x=t.image, weight=POINT), F.conv2d(T.image, torch.from_numpy(POINT))),
    "conv_strided": (
        lambda t: mb.conv(x=t.image, weight=KERNEL, strides=[2, 1], pad_type="custom", pad=[1, 0, 2, 1],
                          bias=BIAS[:3]),
        F.conv2d(F.pad(T.image, (2, 1, 1, 0)), torch.from_numpy(KERNEL), torch.from_numpy(BIAS[:3]), (2, 1))),
    "conv_same_dilated": (
        lambda t: mb.conv(x=t.image, weight=KERNEL, pad_type="same", dilations=[2, 2]),
        F.conv2d(F.pad(T.image, (1, 1, 2, 2)), torch.from_numpy(KERNEL), dilation=2)),
    "conv_same_lower": (
        lambda t: mb.conv(x=t.image, weight=KERNEL, pad_type="same_lower"),
        F.conv2d(F.pad(T.image, (1, 0, 1, 1)), torch.from_numpy(KERNEL))),
    "conv_depthwise": (
        lambda t: mb.conv(x=t.image, weight=DEPTHWISE, groups=4),
        F.conv2d(T.image, torch.from_numpy(DEPTHWISE), groups=4)),
    "attention": (lambda t: mb.scaled_dot_product_attention(query=t.q, key=t.k, value=t.v),
                  torch.softmax(T.q @ T.k.mT / 2, -1) @ T.v),
    "attention_float_mask": (
        lambda t: mb.scaled_dot_product_attention(query=t.q, key=t.k, value=t.v, attn_mask=MASK),
        torch.softmax(T.q @ T.k.mT / 2 + torch.from_numpy(MASK), -1) @ T.v),
    "attention_bool_mask": (
        lambda t: mb.scaled_dot_product_attention(query=t.q, key=t.k, value=t.v, attn_mask=BOOL_MASK),
        F.scaled_dot_product_attention(T.q, T.k, T.v, torch.from_numpy(BOOL_MASK))),
}  # fmt: skip


def updated(array: np.ndarray, index: Any, value: Any) -> np.ndarray:
    result = array.copy()
    result[index] = value
    return result


CASES |= {
    "slice_update": (
        lambda t: mb.slice_update(x=t.x, update=mb.slice_by_index(x=t.p, begin=[0, 0, 0], end=[2, 2, 2]),
                                  begin=[0, 1, 0], end=[2, 3, 4], stride=[1, 1, 2]),
        updated(X, np.s_[:, 1:3, ::2], P[:, :2, :2])),
    "slice_update_squeezed": (
        lambda t: mb.slice_update(x=t.x, update=mb.gather(x=t.p, indices=0, axis=0), begin=[1, 0, 0], end=[0, 0, 0],
                                  squeeze_mask=[True, False, False], end_mask=[False, True, True]),
        updated(X, 1, P[0])),
    "slice_update_backwards": (
        lambda t: mb.slice_update(x=t.x, update=t.p, begin=[0, 2, 0], end=[2, 0, 4], stride=[1, -1, 1],
                                  end_mask=[False, True, False]),
        updated(X, np.s_[:, ::-1], P)),
}  # fmt: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> MilProgram:
    """All cases as outputs of one program."""

    def body(*variables: Any) -> list[Any]:
        t = SimpleNamespace(**dict(zip(FEEDS, variables, strict=True)))
        outputs = []
        for case, (build, _) in CASES.items():
            result = build(t)
            is_bool = result.dtype == types.bool
            outputs.append(mb.cast(x=result, dtype="int32", name=case) if is_bool else mb.identity(x=result, name=case))
        return outputs

    specs = [mb.TensorSpec(a.shape, dtype=types.int32 if a.dtype == np.int32 else types.fp32) for a in FEEDS.values()]
    return MilProgram(save(tmp_path_factory.mktemp("ops") / "ops.mlpackage", specs, body), precision="float32")


@pytest.fixture(scope="module")
def results(program: MilProgram) -> dict[str, np.ndarray]:
    return program.predict({f"v{n}": array for n, array in enumerate(FEEDS.values())})


@pytest.mark.parametrize("case", CASES)
def test_op_computes_what_its_documentation_says(case: str, results: dict[str, np.ndarray]) -> None:
    """Otherwise a correct package is judged broken, or a broken one correct."""
    expected = np.asarray(CASES[case][1])
    if expected.dtype == bool:
        expected = expected.astype(np.int32)
    assert results[case].shape == expected.shape
    assert results[case].dtype == expected.dtype
    np.testing.assert_allclose(results[case], expected, rtol=2e-5, atol=2e-6)


def test_every_op_is_tested(program: MilProgram) -> None:
    """An op without a case would be trusted without having been compared with anything."""
    assert set(OPS) - {step.op for step in program._plan.steps} == set()


def test_rows_masked_everywhere_are_nan_as_on_a_device(tmp_path: Path) -> None:
    """A mask that hides every position is a bug of the package; zeros here would hide it until it meets a phone."""
    mask = np.array([[False, False], [True, True]])
    path = save(
        tmp_path / "masked.mlpackage", [mb.TensorSpec((1, 2, 4), dtype=types.fp32)],
        lambda x: mb.scaled_dot_product_attention(query=x, key=x, value=x, attn_mask=mask),
    )  # fmt: skip
    output = next(iter(MilProgram(path).predict({"v0": np.ones((1, 2, 4), np.float32)}).values()))
    assert np.isnan(output[0, 0]).all()
    assert (output[0, 1] == 1).all()


def test_gather_outside_the_axis_is_an_error(tmp_path: Path) -> None:
    """A token beyond the vocabulary reads undefined memory on a device; it must not pass validation."""
    specs = [mb.TensorSpec((2,), dtype=types.int32)]
    path = save(tmp_path / "gather.mlpackage", specs, lambda i: mb.gather(x=W, indices=i, axis=0))
    program = MilProgram(path)
    for bad in (5, -1):
        with pytest.raises(PackageError, match=f"index {bad} is outside an axis of 5"):
            program.predict({"v0": np.array([0, bad], np.int32)})


@pytest.mark.parametrize(
    ("op", "args", "message"),
    [
        ("real_div", {"x": torch.tensor([3]), "y": torch.tensor([2])}, "real_div of integers"),
        ("gelu", {"x": torch.ones(1), "mode": "NEW"}, "gelu with mode 'NEW'"),
        ("cast", {"x": torch.ones(1), "dtype": "fp64"}, "cast to 'fp64'"),
        ("gather", {"x": torch.ones(2, 2), "indices": torch.zeros(1), "batch_dims": torch.tensor(1)}, "batch_dims=1"),
        (
            "scatter",
            {"data": torch.ones(2), "indices": torch.zeros(1), "updates": torch.ones(1), "mode": "max"},
            "'max'",
        ),
        ("conv", {"x": torch.ones(1, 1, 2), "weight": torch.ones(1, 1, 1), "pad_type": "odd"}, "pad_type 'odd'"),
        ("reduce_mean", {"x": torch.tensor([3])}, "reduce_mean of integers"),
    ],
)
def test_unknown_variants_are_named(op: str, args: dict[str, Any], message: str) -> None:
    """An unknown variant must be an error that names it, not a meaningless number."""
    with pytest.raises(UnsupportedError, match=message):
        OPS[op](**args)


def test_uint16_and_int8_casts_wrap(tmp_path: Path) -> None:
    """Indices are often cast to uint16 for the Neural Engine: 65536 must become 0, not an error or 65536."""

    def body(x: Any) -> list[Any]:
        return [mb.cast(x=mb.cast(x=x, dtype=t), dtype="int32", name=f"to_{t}") for t in ("uint16", "int16", "uint8")]

    path = save(tmp_path / "casts.mlpackage", [mb.TensorSpec((3,), dtype=types.int32)], body)
    values = np.array([65536, 40000, -1], np.int32)
    outputs = MilProgram(path).predict({"v0": values})
    for name, dtype in {"to_uint16": np.uint16, "to_int16": np.int16, "to_uint8": np.uint8}.items():
        assert outputs[name].tolist() == values.astype(dtype).astype(np.int32).tolist(), name
