"""coreml.json: how edgesw's own runtime calls the functions of Core ML packages, of every form."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from edgesw.formats.coreml_layout import CoreMLLayout
from edgesw.runtime.coreml import CoreMLDecoder, FixedDecoder

CONTEXT = 400
FORMS = (
    *(CoreMLLayout(compute, lengths) for compute in ("ane", "all") for lengths in ((1, 64), (1, 32, 256), (64,), (1,))),
    *(CoreMLLayout(compute, lengths) for compute in ("gpu", "cpu") for lengths in ((), (1,), (1, 64), (16,))),
)
# How many tokens are fed, one after the other; the tokens are 1, 2, 3, ...
FED = ((1,), (64,), (65, 1, 1), (5, 130, 1), (300, 1, 20), (1, 1, 256))


class _Recorder:
    """Stands for a function and keeps what it is given."""

    def __init__(self, function: str, calls: list[dict[str, Any]]) -> None:
        self._function, self._calls = function, calls

    def make_state(self) -> None:
        """Has none: nothing is computed."""

    def predict(self, data: dict[str, np.ndarray], state: None) -> dict[str, np.ndarray]:
        ids = data["inputIds"][0]
        real = int(np.count_nonzero(ids))
        assert ids.tolist() == [*range(ids[0], ids[0] + real), *[0] * (len(ids) - real)]
        told = {name: int(data[name][0]) for name in ("position", "last") if name in data}
        seen = {"seen": data["causalMask"].shape[-1]} if "causalMask" in data else {}
        tokens = {"first": int(ids[0]), "real": real, "length": len(ids)}
        self._calls.append({"function": self._function, **tokens, **told, **seen})
        return {"logits": np.zeros((1, len(ids), 2), np.float32)}


def make(folder: Path) -> None:
    """Write coreml.json to `folder`."""
    pairs = product(FORMS, FED)
    cases = [
        _case(form, fed) for form, fed in pairs if form.lengths != (1,) or sum(fed) < 100
    ]  # else hundreds of calls
    (folder / "coreml.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


def _case(form: CoreMLLayout, fed: tuple[int, ...]) -> dict[str, Any]:
    calls: list[dict[str, Any]] = []
    functions = form.functions
    engines = {name: _Recorder(name, calls) for name in functions}
    decoder: CoreMLDecoder | FixedDecoder
    if form.lengths:
        by_length = {n: engines[name] for name, lengths in functions.items() for n in lengths}
        decoder = FixedDecoder(by_length, CONTEXT, "recorded")
    else:
        decoder = CoreMLDecoder(engines["main"], CONTEXT, "recorded")
    at = 0
    for count in fed:
        decoder.prefill(np.arange(at + 1, at + count + 1))
        at += count
    settings = {"form": asdict(form), "context": CONTEXT}
    manifest = {"settings": settings, "decoder": {"layer_windows": [None, None]}}
    return {"manifest": json.dumps(manifest), "functions": list(functions), "fed": fed, "calls": calls}
