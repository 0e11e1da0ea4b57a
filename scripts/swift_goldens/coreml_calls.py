"""coreml.json: how edgesw's own runtime calls the functions of Core ML packages, in every layout."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from edgesw.formats.coreml_layout import CoreMLLayout
from edgesw.runtime.coreml import CoreMLDecoder, FixedDecoder
from edgesw.targets.coreml import CoreMLTarget

CONTEXT = 400
LAYOUTS = (
    *(CoreMLLayout(compute, lengths) for compute in ("ane", "all") for lengths in ((1, 64), (1, 32, 256), (64,), (1,))),
    *(CoreMLLayout(compute, lengths) for compute in ("gpu", "cpu") for lengths in ((), (1,), (1, 64), (16,))),
    CoreMLLayout("ane", (1, 64), ablation=True),
    CoreMLLayout("gpu", ablation=True),
)
# The numbers of tokens that are fed one after the other; the tokens are 1, 2, 3, ...
FED = ((1,), (64,), (65, 1, 1), (5, 130, 1), (300, 1, 20), (1, 1, 256))


class _Recorder:
    """A stand-in for a function, which records its inputs."""

    def __init__(self, function: str, calls: list[dict[str, Any]]) -> None:
        self._function, self._calls = function, calls

    def make_state(self) -> None:
        """Returns no state: nothing is computed."""

    def predict(self, data: dict[str, np.ndarray], state: None) -> dict[str, np.ndarray]:
        ids = data["inputIds"][0]
        real = int(np.count_nonzero(ids))
        assert ids.tolist() == [*range(ids[0], ids[0] + real), *[0] * (len(ids) - real)]
        place = {name: int(data[name][0]) for name in ("position", "last") if name in data}
        length = {"kv_length": data["causalMask"].shape[-1]} if "causalMask" in data else {}
        tokens = {"first": int(ids[0]), "real": real, "length": len(ids)}
        self._calls.append({"function": self._function, **tokens, **place, **length})
        return {"logits": np.zeros((1, len(ids), 2), np.float32)}


def make(folder: Path) -> None:
    """Writes coreml.json to `folder`."""
    # With one token at a time, long inputs would be hundreds of calls.
    pairs = [(layout, fed) for layout, fed in product(LAYOUTS, FED) if layout.lengths != (1,) or sum(fed) < 100]
    cases = [_case(layout, fed, True) for layout, fed in pairs]
    cases += [_case(layout, fed, False) for layout, fed in pairs if layout.ablation]
    (folder / "coreml.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


def _case(layout: CoreMLLayout, fed: tuple[int, ...], corrected: bool) -> dict[str, Any]:
    calls: list[dict[str, Any]] = []
    options = CoreMLTarget().options_to_dict(layout)
    functions = {each["name"]: each["lengths"] for each in options["functions"] if each["corrected"] == corrected}
    engines = {name: _Recorder(name, calls) for name in functions}
    decoder: CoreMLDecoder | FixedDecoder
    if layout.lengths:
        by_length = {length: engines[name] for name, lengths in functions.items() for length in lengths}
        decoder = FixedDecoder(by_length, CONTEXT, "recorded")
    else:
        (engine,) = engines.values()
        decoder = CoreMLDecoder(engine, CONTEXT, "recorded")
    at = 0
    for count in fed:
        decoder.prefill(np.arange(at + 1, at + count + 1))
        at += count
    manifest = {
        "models": {"coreml": {"options": options}},
        "settings": {"context": CONTEXT},
        "decoder": {"layer_windows": [None, None]},
    }
    return {
        "manifest": json.dumps(manifest),
        "corrected": corrected,
        "functions": list(functions),
        "fed": fed,
        "calls": calls,
    }
