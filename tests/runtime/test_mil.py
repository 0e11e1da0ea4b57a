"""Running programs: precision, states, flexible shapes, memory, and errors for what does not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import get_new_symbol, types
from mil_build import save

from edgesw.errors import EdgeswError, PackageError, UnsupportedError, UsageError
from edgesw.runtime.mil import MilProgram

F16, F32 = np.float16, np.float32
RNG = np.random.default_rng(11)
STATE = mb.StateTensorSpec((4, 3), dtype=types.fp16)
ROW = mb.TensorSpec((1, 3), dtype=types.fp16)


def row(*values: float) -> np.ndarray:
    return np.array([values], F16)


# precision


def norm(x: Any, eps: Any = 1e-5) -> Any:
    """RMSNorm as it is usually written, which is not safe in float16."""
    mean = mb.reduce_mean(x=mb.mul(x=x, y=x), axes=[-1], keep_dims=True)
    return mb.mul(x=x, y=mb.rsqrt(x=mean, epsilon=F16(eps)), name="norm")


@pytest.fixture(scope="module")
def norm_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("norm") / "norm.mlpackage", [mb.TensorSpec((1, 4), dtype=types.fp16)], norm)


def test_float16_overflows_where_hardware_does(norm_package: Path) -> None:
    """A super activation of 24,000 squares to infinity: the package must fail here, before it fails on a phone."""
    spike = np.array([[24_000, 1, 2, 3]], F16)
    half = MilProgram(norm_package).predict({"v0": spike})["norm"]
    full = MilProgram(norm_package, precision="float32").predict({"v0": spike})["norm"]
    assert half.dtype == full.dtype == F16
    assert (half == 0).all()
    wide = spike.astype(F32)
    np.testing.assert_allclose(full.astype(F32), wide / np.sqrt((wide**2).mean() + 1e-5), rtol=1e-3)


def test_float16_rounds_each_op_once(tmp_path: Path) -> None:
    """Rounding too rarely hides errors of the device, rounding inside an op (a sum of 4,096 terms) invents some."""
    weight = RNG.standard_normal((8, 4096)).astype(F16)
    x = RNG.standard_normal((1, 4096)).astype(F16)

    def body(v: Any) -> list[Any]:
        y = mb.linear(x=v, weight=weight, name="y")
        return [y, mb.mul(x=y, y=mb.exp(x=y), name="z"), mb.add(x=mb.cast(x=y, dtype="fp32"), y=F32(1e-4), name="wide")]

    package = save(tmp_path / "p.mlpackage", [mb.TensorSpec((1, 4096), dtype=types.fp16)], body)
    out = MilProgram(package).predict({"v0": x})
    exact = torch.from_numpy(x).float() @ torch.from_numpy(weight).float().T
    y = exact.half()
    assert np.array_equal(out["y"], y.numpy())
    assert np.array_equal(out["z"], (y.float() * y.float().exp().half().float()).half().numpy())
    assert out["wide"].dtype == F32
    assert np.array_equal(out["wide"], y.float().numpy() + F32(1e-4))


def test_integers_are_never_rounded(tmp_path: Path) -> None:
    """2049 is not a float16: a position rounded to 2048 would rotate the wrong way."""
    specs = [mb.TensorSpec((2,), dtype=types.int32)]
    package = save(tmp_path / "p.mlpackage", specs, lambda i: mb.add(x=i, y=np.int32(1), name="next"))
    assert MilProgram(package).predict({"v0": np.array([2048, 70_000], np.int32)})["next"].tolist() == [2049, 70_001]


def test_unknown_precision_is_refused(norm_package: Path) -> None:
    """A typing error must not silently mean float32."""
    with pytest.raises(UsageError, match="'fp16'"):
        MilProgram(norm_package, precision="fp16")


# states


def append(x: Any, state: Any, at: Any) -> Any:
    """One step of a cache: `x` (1, 3) becomes row `at` (1,) of the state; gives the whole state, with one added."""
    end = mb.concat(values=[mb.add(x=at, y=np.int32(1)), [3]], axis=0)
    update = mb.slice_update(x=mb.read_state(input=state), update=x, begin=mb.concat(values=[at, [0]], axis=0), end=end)
    return mb.add(x=mb.coreml_update_state(state=state, value=update), y=F16(1), name="out")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> MilProgram:
    specs = [ROW, STATE, mb.TensorSpec((1,), dtype=types.int32)]
    package = save(tmp_path_factory.mktemp("cache") / "cache.mlpackage", specs, append, note="kept")
    return MilProgram(package)


def step(program: MilProgram, state: Any, value: float, at: int) -> np.ndarray:
    return program.predict({"v0": row(value, value, value), "v2": np.array([at], np.int32)}, state)["out"]


def test_a_state_lives_across_calls(cache: MilProgram) -> None:
    """A cache that forgets makes every decoded token wrong."""
    state = cache.make_state()
    first = step(cache, state, 5, 0)
    second = step(cache, state, 7, 2)
    assert first[:, 0].tolist() == [6, 1, 1, 1], "an earlier output must not change when the state does"
    assert second[:, 0].tolist() == [6, 1, 8, 1]
    assert state.read_state("v1")[:, 1].tolist() == [5, 0, 7, 0]


def test_states_are_independent(cache: MilProgram) -> None:
    """Two conversations must not see each other."""
    one, two = cache.make_state(), cache.make_state()
    step(cache, one, 5, 0)
    assert step(cache, two, 7, 1)[:, 0].tolist() == [1, 8, 1, 1]
    assert one.read_state("v1")[:, 0].tolist() == [5, 0, 0, 0]


def test_a_state_can_be_written_and_is_copied(cache: MilProgram) -> None:
    """Restoring a cache must not tie it to the caller's array, nor the caller's copy to the cache."""
    state, saved = cache.make_state(), np.full((4, 3), 2, F16)
    state.write_state("v1", saved)
    step(cache, state, 9, 3)
    assert (saved == 2).all()
    assert state.read_state("v1")[:, 0].tolist() == [2, 2, 2, 9]
    copy = state.read_state("v1")
    copy[:] = 0
    assert state.read_state("v1")[3, 0] == 9
    with pytest.raises(UsageError, match=r"no state 'v2'\. Did you mean 'v1'"):
        state.read_state("v2")
    with pytest.raises(UsageError, match=r"shape \(4, 3\), got \(3, 4\)"):
        state.write_state("v1", np.zeros((3, 4), F16))


def test_the_usual_update_is_in_place(cache: MilProgram) -> None:
    """Copying the cache once for each of 30 layers would make validation slow."""
    state = cache.make_state()
    before = state.buffers["v1"].data_ptr()
    step(cache, state, 5, 1)
    assert state.buffers["v1"].data_ptr() == before
    assert state.read_state("v1")[1, 0] == 5


def set_row(x: Any, update: Any, at: int) -> Any:
    return mb.slice_update(x=x, update=update, begin=[at, 0], end=[at + 1, 3])


def old_value_read_later(x: Any, s: Any) -> list[Any]:
    old = mb.read_state(input=s)
    mb.coreml_update_state(state=s, value=set_row(old, x, 0))
    return [mb.identity(x=old, name="a"), mb.read_state(input=s, name="b")]


def view_of_old_value_read_later(x: Any, s: Any) -> list[Any]:
    old = mb.read_state(input=s)
    view = mb.slice_by_index(x=mb.reshape(x=old, shape=[2, 6]), begin=[0, 0], end=[2, 6])
    mb.coreml_update_state(state=s, value=set_row(old, x, 0))
    return [mb.reshape(x=view, shape=[4, 3], name="a"), mb.read_state(input=s, name="b")]


def result_not_stored(x: Any, s: Any) -> list[Any]:
    return [set_row(mb.read_state(input=s), x, 0), mb.read_state(input=s, name="b")]


def read_before_stored(x: Any, s: Any) -> list[Any]:
    new = set_row(mb.read_state(input=s), x, 0)
    between = mb.read_state(input=s, name="a")
    mb.coreml_update_state(state=s, value=new)
    return [between, mb.read_state(input=s, name="b")]


def second_update_while_first_is_read(x: Any, s: Any) -> list[Any]:
    first = mb.coreml_update_state(state=s, value=set_row(mb.read_state(input=s), x, 0))
    view = mb.slice_by_index(x=first, begin=[0, 0], end=[4, 3])
    mb.coreml_update_state(state=s, value=set_row(mb.read_state(input=s), x, 2))
    return [mb.identity(x=view, name="a"), mb.read_state(input=s, name="b")]


def rows_shifted(x: Any, s: Any) -> list[Any]:
    """A rolling cache: the update is a view of what it overwrites."""
    old = mb.read_state(input=s)
    rest = mb.slice_by_index(x=old, begin=[1, 0], end=[4, 3])
    new = mb.coreml_update_state(state=s, value=mb.slice_update(x=old, update=rest, begin=[0, 0], end=[3, 3]))
    return [mb.identity(x=new, name="a"), mb.coreml_update_state(state=s, value=set_row(new, x, 3))]


def input_stored(x: Any, s: Any) -> list[Any]:
    whole = mb.tile(x=x, reps=[4, 1])
    mb.coreml_update_state(state=s, value=whole)
    new = mb.coreml_update_state(state=s, value=set_row(mb.read_state(input=s), mb.mul(x=x, y=F16(2)), 0))
    return [mb.identity(x=whole, name="a"), new]


def constant_stored(x: Any, s: Any) -> list[Any]:
    constant = mb.const(val=np.full((4, 3), 3, F16))
    mb.coreml_update_state(state=s, value=constant)
    new = mb.coreml_update_state(state=s, value=set_row(mb.read_state(input=s), x, 0))
    return [mb.identity(x=constant, name="a"), new]


START = np.arange(12, dtype=F16).reshape(4, 3)
X = row(100, 100, 100)


def with_row(array: np.ndarray, value: np.ndarray, at: int) -> np.ndarray:
    result = array.copy()
    result[at] = value
    return result


SHIFTED = START[[1, 2, 3, 3]]
HAZARDS: dict[Callable[..., Any], tuple[np.ndarray, np.ndarray]] = {
    old_value_read_later: (START, with_row(START, X, 0)),
    view_of_old_value_read_later: (START, with_row(START, X, 0)),
    result_not_stored: (with_row(START, X, 0), START),
    read_before_stored: (START, with_row(START, X, 0)),
    second_update_while_first_is_read: (with_row(START, X, 0), with_row(with_row(START, X, 0), X, 2)),
    rows_shifted: (SHIFTED, with_row(SHIFTED, X, 3)),
    input_stored: (np.full((4, 3), 100, F16), with_row(np.full((4, 3), 100, F16), X * 2, 0)),
    constant_stored: (np.full((4, 3), 3, F16), with_row(np.full((4, 3), 3, F16), X, 0)),
}


@pytest.mark.parametrize("precision", ["float16", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("body", HAZARDS, ids=lambda body: body.__name__)
def test_writing_in_place_never_shows(body: Callable[..., Any], precision: str, tmp_path: Path) -> None:
    """Where the old value is still read, an update in place would give silently wrong numbers."""
    program = MilProgram(save(tmp_path / "p.mlpackage", [ROW, STATE], body), precision=precision)
    for _ in range(2):  # a second run also shows a constant that was overwritten
        state = program.make_state()
        state.write_state("v1", START)
        outputs = list(program.predict({"v0": X}, state).values())
        for output, expected in zip(outputs, HAZARDS[body], strict=True):
            assert np.array_equal(output, expected)


def test_two_states_given_the_same_value_part_again(tmp_path: Path) -> None:
    """Two caches filled by one value must not stay one cache."""

    def body(x: Any, s: Any, t: Any) -> Any:
        value = set_row(mb.read_state(input=s), x, 0)
        mb.coreml_update_state(state=s, value=value)
        mb.coreml_update_state(state=t, value=value)
        mb.coreml_update_state(state=s, value=set_row(mb.read_state(input=s), x, 1))
        return mb.read_state(input=t)

    specs = [ROW, STATE, mb.StateTensorSpec((4, 3), dtype=types.fp16)]
    program = MilProgram(save(tmp_path / "p.mlpackage", specs, body))
    state = program.make_state()
    program.predict({"v0": X}, state)
    assert state.read_state("v1")[:, 0].tolist() == [100, 100, 0, 0]
    assert state.read_state("v2")[:, 0].tolist() == [100, 0, 0, 0]


def test_predict_needs_the_right_state(cache: MilProgram, norm_package: Path) -> None:
    """Forgetting the state, or mixing up two models, must be an error."""
    data = {"v0": row(1, 2, 3), "v2": np.zeros(1, np.int32)}
    with pytest.raises(UsageError, match=r"keeps a state \(v1\): pass `state=program.make_state\(\)`"):
        cache.predict(data)
    with pytest.raises(UsageError, match="made by another program"):
        cache.predict(data, MilProgram(norm_package).make_state())


# a program's description, and flexible shapes


def test_a_program_describes_itself(cache: MilProgram) -> None:
    """Callers read names and shapes here, as they do from Core ML."""
    assert cache.inputs == {"v0": (1, 3), "v2": (1,)}
    assert cache.outputs == ("out",)
    assert cache.states == {"v1": (4, 3)}
    assert cache.metadata["note"] == "kept"


def softmax_body(x: Any) -> Any:
    return mb.softmax(x=x, axis=-1, name="out")


def test_flexible_shapes(tmp_path: Path) -> None:
    """One package serves prompts of every length up to its limit, and refuses those beyond it."""
    specs = [mb.TensorSpec((1, get_new_symbol("q")), dtype=types.fp32)]
    ranges = [ct.TensorType("v0", shape=(1, ct.RangeDim(2, 8, 2)), dtype=F32)]
    program = MilProgram(save(tmp_path / "p.mlpackage", specs, softmax_body, ranges))
    assert program.inputs == {"v0": (1, None)}
    for length in (2, 5, 8):
        out = program.predict({"v0": np.zeros((1, length), F32)})["out"]
        np.testing.assert_allclose(out, np.full((1, length), 1 / length), rtol=1e-6)
    for shape in ((1, 9), (1, 1), (2, 4), (4,)):
        with pytest.raises(UsageError, match=r"'v0' must have shape \(1, 2\.\.8\), got"):
            program.predict({"v0": np.zeros(shape, F32)})


def test_enumerated_shapes(tmp_path: Path) -> None:
    """A shape that was not enumerated fails on a device, so it must fail here."""
    specs = [mb.TensorSpec((1, get_new_symbol("q")), dtype=types.fp32)]
    shapes = [ct.TensorType("v0", shape=ct.EnumeratedShapes([(1, 1), (1, 8)]), dtype=F32)]
    program = MilProgram(save(tmp_path / "p.mlpackage", specs, softmax_body, shapes))
    assert program.predict({"v0": np.zeros((1, 8), F32)})["out"].shape == (1, 8)
    with pytest.raises(UsageError, match=r"\(1, 1\) or \(1, 8\), got \(1, 4\)"):
        program.predict({"v0": np.zeros((1, 4), F32)})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "the input 'v0' is missing"),
        ({"v0": row(1, 2, 3)}, r"must have shape \(1, 4\), got \(1, 3\)"),
        ({"v0": np.zeros((1, 4), F32)}, "must be a numpy array of float16, got float32"),
        ({"v0": [[1, 2, 3, 4]]}, "must be a numpy array of float16, got list"),
        ({"v0": np.zeros((1, 4), F16), "v00": row(1)}, "no input 'v00'. Did you mean 'v0'"),
    ],
)
def test_inputs_that_do_not_fit(norm_package: Path, data: Any, message: str) -> None:
    """A wrong call is one line that says what to change."""
    with pytest.raises(UsageError, match=message) as caught:
        MilProgram(norm_package).predict(data)
    assert "\n" not in str(caught.value)


def test_the_callers_arrays_are_left_alone(norm_package: Path) -> None:
    """predict must neither change its inputs nor return memory that a later call changes."""
    program, x = MilProgram(norm_package), np.array([[1, 2, 3, 4]], F16)
    first = program.predict({"v0": x})["norm"]
    kept = first.copy()
    program.predict({"v0": x * F16(3)})
    assert np.array_equal(first, kept)
    assert x.tolist() == [[1, 2, 3, 4]]


# memory


def test_values_die_after_their_last_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If they lived until the end, the values of 30 layers at 512 tokens would take gigabytes."""

    def body(x: Any) -> Any:
        for _ in range(20):
            x = mb.mul(x=mb.relu(x=x), y=F16(0.5))
        return x

    program = MilProgram(save(tmp_path / "p.mlpackage", [ROW], body))
    alive: list[int] = []
    run = program._run

    def counting(step: Any, values: Any, buffers: Any) -> None:
        run(step, values, buffers)
        alive.append(len(values))

    monkeypatch.setattr(program, "_run", counting)
    program.predict({"v0": row(1, 2, 3)})
    assert len(alive) == 40
    assert max(alive) <= 2


# packages that cannot be run


def test_an_unknown_op_is_named_on_loading(tmp_path: Path) -> None:
    """The user must learn what is missing before a long run, not in the middle of it."""
    package = save(tmp_path / "p.mlpackage", [ROW], lambda x: mb.cumsum(x=mb.acos(x=x), axis=1))
    with pytest.raises(UnsupportedError, match="acos, cumsum"):
        MilProgram(package)


def test_an_unknown_parameter_is_named_on_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ignored parameter gives silently wrong numbers."""
    from edgesw.runtime import mil_ops

    package = save(tmp_path / "p.mlpackage", [ROW], lambda x: mb.softmax(x=x, axis=0))
    monkeypatch.setitem(mil_ops.OPS, "softmax", lambda x: x)
    with pytest.raises(UnsupportedError, match=r"op 'softmax' \('softmax_0'\): its parameter 'axis'"):
        MilProgram(package)


def edited(package: Path, folder: Path, edit: Callable[[Any], Any]) -> Path:
    copy = shutil.copytree(package, folder / "edited.mlpackage")
    model = copy / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = ct.proto.Model_pb2.Model.FromString(model.read_bytes())
    function = spec.mlProgram.functions["main"]
    edit(function.block_specializations[function.opset])
    model.write_bytes(spec.SerializeToString())
    return copy


def rename_use(block: Any) -> None:
    block.operations[-1].inputs["x"].arguments[0].name = "nothing"


def drop_parameter(block: Any) -> None:
    del block.operations[-1].inputs["y"]


def change_dtype(block: Any) -> None:
    block.operations[-1].outputs[0].type.tensorType.dataType = 12  # FLOAT64


def change_shape(block: Any) -> None:
    block.operations[-1].outputs[0].type.tensorType.dimensions[1].constant.size = 5


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (rename_use, PackageError, r"op 'mul' \('norm'\): uses 'nothing'"),
        (drop_parameter, PackageError, r"op 'mul' \('norm'\): its parameter 'y' is missing"),
        (change_dtype, UnsupportedError, r"op 'mul' \('norm'\): the dtype FLOAT64"),
        (change_shape, PackageError, r"gives torch.float32 \(1, 4\) where the program declares fp16 \(1, 5\)"),
    ],
)
def test_programs_that_contradict_themselves(
    norm_package: Path, tmp_path: Path, edit: Any, error: type[EdgeswError], message: str
) -> None:
    """A writer's bug must be named by op, not surface as a traceback from torch or as wrong numbers."""
    package = edited(norm_package, tmp_path, edit)
    with pytest.raises(error, match=message):
        MilProgram(package).predict({"v0": np.ones((1, 4), F16)})


def test_folders_that_are_not_packages(norm_package: Path, tmp_path: Path) -> None:
    """The wrong path, a damaged manifest, a cut-off model: each is one line naming the file."""
    with pytest.raises(PackageError, match=r"no Manifest\.json"):
        MilProgram(tmp_path)
    copy = shutil.copytree(norm_package, tmp_path / "copy.mlpackage")
    model = copy / "Data" / "com.apple.CoreML" / "model.mlmodel"
    model.write_bytes(model.read_bytes()[:-3])
    with pytest.raises(PackageError, match=r"model\.mlmodel: damaged"):
        MilProgram(copy)
    model.unlink()
    with pytest.raises(PackageError, match=r"model\.mlmodel: the model that Manifest\.json names is missing"):
        MilProgram(copy)
    (copy / "Manifest.json").write_text(json.dumps({"rootModelIdentifier": "x"}))
    with pytest.raises(PackageError, match=r"Manifest\.json: damaged"):
        MilProgram(copy)
    with pytest.raises(PackageError, match="no function 'prefill'; it has main"):
        MilProgram(norm_package, function="prefill")
