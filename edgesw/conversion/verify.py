"""Checks each model that a conversion has written: that it runs here, and computes what was compressed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgesw.compress.decoder import CompressedDecoder
from edgesw.conversion.plans import Plans, TargetPlan
from edgesw.decoder.names import TensorName
from edgesw.decoder.rotary import rotary_of_context
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import EdgeswError
from edgesw.formats.activation_quantization import SHARED_RANGES
from edgesw.outliers.detect import PROMPT
from edgesw.package.manifest import Manifest
from edgesw.progress import Progress
from edgesw.runtime.packaged_decoder import PackagedDecoder, PackageMatrices
from edgesw.runtime.torch import FloatLogits
from edgesw.system.machine import available_memory
from edgesw.targets.registry import TARGETS
from edgesw.targets.target import Target
from edgesw.text.tokenizer import Tokenizer

Checked = Literal["run", "structure"]
TOLERANCE = 0.5


@dataclass(frozen=True)
class Written:
    """A model that was written."""

    files: tuple[str, ...]
    """All files that it alone needs, by path in the package."""
    decoder: CompressedDecoder
    """The matrices that it was written from."""
    kept: bool
    """Whether they are still in the decoder's store; the others are gone, or would have to be compressed again."""


def check_models(
    package: Path,
    manifest: Manifest,
    plans: Plans,
    written: Mapping[str, Written],
    tokenizer: Tokenizer,
    progress: Progress,
) -> dict[str, Checked]:
    """Opens each model of the package and runs it: a prompt, then one token more, through every function that the model
    has. Returns what was checked of each: where that takes more memory than the forecast includes (`Plans.is_run`) and
    than half of what is free now, or no runtime here can run the model, its `structure` is checked instead.

    Raises EdgeswError for a model that cannot be opened or run, whose logits are not finite, or whose logits are far
    from those of the matrices that were compressed, see `distance`.
    """
    references, found, ids = _References(plans.spec), {}, _check_ids(tokenizer, plans)
    for name, plan in plans.targets.items():
        progress(f"Checking {TARGETS[name].title}", "", 0, 1)
        model = _Model(package, manifest, name, plan, written[name], ids)
        try:
            fits = plans.is_run(name) or plans.check_bytes(name) <= (available_memory() or 0) // 2
            found[name] = model.check(fits, references)
        except EdgeswError as error:
            raise EdgeswError(
                f"the {TARGETS[name].title} model that was written does not work, so nothing was published: {error}"
            ) from error
    return found


def distance(logits: np.ndarray, expected: np.ndarray) -> float:
    """The root mean square of the difference of two rows of logits, float32 (vocabulary,), relative to the spread of
    the expected ones. 0 for equal logits and about 1.4 for unrelated ones; a number added to all logits does not count,
    as it changes no probability."""
    off, own = (each - each.mean() for each in (np.float64(logits) - expected, np.float64(expected)))
    return float(np.sqrt(np.square(off).mean() / max(np.square(own).mean(), 1e-6)))


def tolerance(activations: str | None) -> float:
    """The largest `distance` that arithmetic explains, with a wide margin: the check is for models that are broken, and
    what quantization costs is for `validate` to say.

    The largest distances that right packages were seen to have, on the tiny models of every family (tests/helpers) and
    on SmolLM2-135M: in the MIL interpreter's float16 0.005 and 0.012; in onnxruntime, whose products round their inputs
    to 8 bits, 0.065 and 0.05, and with 2-bit weights 0.14 and 0.20; with 8-bit activations per-token 0.06 and 0.21.
    Core ML on a Mac has not been measured. The tiny model with two matrices in each other's place has 2.1.

    Where inputs share a range, one large value may round all others to zero: with nothing held out 0.93 was seen, which
    is what was asked for. These models have to run and to give finite logits.
    """
    return math.inf if activations in SHARED_RANGES else TOLERANCE


@dataclass(frozen=True)
class _Model:
    """One model to check."""

    package: Path
    manifest: Manifest
    name: str
    plan: TargetPlan
    written: Written
    ids: np.ndarray
    """Int64 (tokens,): the longest prompt and one token more."""

    @property
    def target(self) -> Target[Any, Any]:
        return TARGETS[self.name]

    def check(self, fits: bool, references: _References) -> Checked:
        target, options, path = self.target, self.plan.options, self.target.model_path(self.package, self.manifest)
        if not fits or not target.runs_here(self.plan.compression):
            target.check_structure(path, options)
            return "structure"
        for corrected in (True, False) if target.has_ablation(options) else (True,):
            expected = references.logits(self, corrected)  # first: its memory is free again when the model is opened
            decoder = target.open_once(path, self.manifest.context, corrected)
            for tokens, logits in self._steps(decoder):
                self._compare(tokens, logits, None if expected is None else expected[tokens - 1], corrected)
        return "run"

    def _steps(self, decoder: PackagedDecoder) -> Iterator[tuple[int, np.ndarray]]:
        """The number of tokens so far, and the logits after the last of them."""
        for prompt in self.target.prompts(self.plan.options):
            count = min(prompt, decoder.context)
            decoder.reset()
            yield count, decoder.prefill(self.ids[:count])
            if count < decoder.context:
                yield count + 1, decoder.step(self.ids[count : count + 1])[-1]

    def _compare(self, tokens: int, logits: np.ndarray, expected: np.ndarray | None, corrected: bool) -> None:
        where = f"after {tokens} tokens" + ("" if corrected else ", without what is held out,")
        advice = "Please report it, and take another --target or --bits."
        if logits.shape != (self.manifest.decoder.vocab_size,):
            raise EdgeswError(f"{where} it gives logits of shape {logits.shape}. {advice}")
        if not np.isfinite(logits).all():
            raise EdgeswError(f"{where} its logits are not finite. {advice}")
        if expected is None:
            return
        most, off = tolerance(self.manifest.settings.activations), distance(logits, expected)
        if not off <= most:
            raise EdgeswError(
                f"{where} its logits are {off:.0%} of their spread away from those of the compressed matrices, and at "
                f"most {most:.0%} can be arithmetic. {advice}"
            )


class _References:
    """What models have to compute, by the float decoder on the matrices that they were written from. Models with the
    same matrices share it."""

    def __init__(self, spec: DecoderSpec) -> None:
        self._spec, self._known = spec, dict[Any, np.ndarray]()

    def logits(self, model: _Model, corrected: bool) -> np.ndarray | None:
        """The logits after each of the model's ids, float32 (tokens, vocabulary). None for what nothing is left to
        compute from: a model without what is held out whose matrices are not in the store any more."""
        written, files = model.written, None
        if not written.kept:
            if not corrected:
                return None
            files = model.target.matrices(model.package, model.manifest)
        key = model.plan.compression.schemes, corrected, None if files is None else model.name
        if key not in self._known:
            rotaries = tuple(rotary_of_context(each, model.manifest.context) for each in self._spec.rotaries)
            weights = _Twin(written.decoder, files, corrected)
            self._known[key] = next(iter(FloatLogits(replace(self._spec, rotaries=rotaries), weights, model.ids[None])))
        return self._known[key]


class _Twin:
    """The float `Weights` that a model's matrices represent: as they are in the store or, without one, in the model's
    `files`. Embedding and head are compressed alone, so they are compressed again where no store has them."""

    def __init__(self, decoder: CompressedDecoder, files: PackageMatrices | None, corrected: bool) -> None:
        self._decoder, self._files, self._corrected = decoder, files, corrected

    def tensor(self, name: str) -> np.ndarray:
        plan = self._decoder.plan
        if name == "lm_head" and name not in plan:  # tied
            name = "embed_tokens"
        if name not in plan:
            return self._decoder.vector(name)
        if TensorName.parse(name).layer is None:
            matrix = self._decoder.matrix(name)
            return matrix.dequantize_rows(np.arange(matrix.shape[0]))
        if self._files is not None:
            return self._files.matrix(name)
        matrix = self._decoder.matrix(name)
        return matrix.dequantize() if self._corrected else matrix.dense.decode()

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self._decoder.matrix(name).dequantize_rows(rows)


def _check_ids(tokenizer: Tokenizer, plans: Plans) -> np.ndarray:
    """Token ids of detection's prompt, which makes super activations: as many as the longest prompt of a target and
    one more."""
    longest = max(max(TARGETS[name].prompts(plan.options)) for name, plan in plans.targets.items())
    known = [token for token in tokenizer.encode(PROMPT) if token < plans.spec.vocab_size] or [0]
    return np.resize(np.array(known, np.int64), min(longest, plans.context) + 1)
