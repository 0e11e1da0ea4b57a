"""Settings and Plans: what a conversion is asked for, what it will do target by target, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgesw.calibration.calibrate import CALIBRATION_TOKENS, CALIBRATION_WINDOWS, Calibration, compensation_windows
from edgesw.compress.matrix import Scheme
from edgesw.compress.mixed_precision import MatrixPlan
from edgesw.compress.plan import HEAD_BITS, CompressionPlan, make_plan
from edgesw.compress.sensitivity import measure_harms
from edgesw.compress.split import chunks_needed, split_layers
from edgesw.conversion.hold_out import HeldOut
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import UsageError
from edgesw.formats.coreml_layout import CoreMLLayout, make_layout
from edgesw.progress import Progress, StepProgress
from edgesw.runtime.streams import BATCH_TOKENS
from edgesw.targets.targets import TARGETS

DEFAULT_CONTEXT = 2048
# Beside its weights a package holds the graph, the tokenizer and vectors: a few megabytes.
OTHER_BYTES = 8 << 20
LIBRARY_BYTES = 330 << 20
# Columns held out of a matrix, on average: 3.9 in SmolLM2-135M, 13 where they share a range. Which, only calibration
# tells.
COLUMNS_EACH, RANGE_COLUMNS_EACH = 4, 13


@dataclass(frozen=True)
class Settings:
    """What the user asked for. `context` 0: the model's own, at most 2048 tokens."""

    targets: tuple[str, ...]
    bits: float = 4
    scheme: str | None = None
    group_size: int | None = None
    context: int = 0
    hold_out: bool = True
    size: int | None = None
    """Bytes of a target's weights, instead of `bits`."""
    embedding_bits: int = HEAD_BITS
    """Code bits of the embedding and of the output head."""
    calibration: str = "default"
    """The text to calibrate on: `default` is the one that ships, `none` none, else a file."""
    hold_out_fraction: float = 0.0
    """The share of scalars of each of the layers' matrices to hold out by the harm that rounding does them."""
    compute: str = "gpu"
    """Which of Apple's units a Core ML package is made for."""
    lengths: tuple[int, ...] | None = None
    """How many tokens it takes at once; none: any number; None: what suits the units."""
    chunks: int = 1
    """In how many packages it is; 0: as many as iPhones want."""
    workers: int = 1
    """Processes that compress matrices which do not depend on one another."""
    cluster_dim: int = 1
    """Values to an entry of a palette at most: 1, 2 or 4."""
    portable: bool = False
    """ONNX in operators of the standard alone."""
    ranges: str | None = None
    """Inputs of the layers' matrices are rounded to 8 bits within such ranges; None: as the runtime likes it."""
    ablation: bool = False
    """Core ML: each function once more without what is held out."""


@dataclass(frozen=True)
class Plans:
    """What a conversion will do, target by target, and what it needs."""

    spec: DecoderSpec
    context: int
    by_target: dict[str, CompressionPlan]
    settings: Settings
    form: CoreMLLayout

    @property
    def correction_bytes(self) -> int:
        """Size of the corrections of all targets, estimated."""
        count = RANGE_COLUMNS_EACH if self.settings.ranges in ("tensor", "static") else COLUMNS_EACH
        each = dict.fromkeys(self.spec.matrices(), range(count)) if self.settings.hold_out else {}
        return sum(plan.correction_bytes(each, self.settings.hold_out_fraction) for plan in self.by_target.values())

    @property
    def mixed(self) -> bool:
        """Whether a measurement is to decide widths."""
        return any(plan.mix for plan in self.by_target.values())

    @property
    def matrices(self) -> tuple[MatrixPlan, ...]:
        """Those of all targets."""
        return tuple(matrix for plan in self.by_target.values() for matrix in plan.matrices)

    def measured(self, weights: Weights, calibration: Calibration, held_out: HeldOut, progress: Progress) -> Plans:
        """These plans with every mix allocated by the harm that its options would do: see `measure_harms`."""
        plans = dict(self.by_target)
        for name, plan in self.by_target.items():
            if plan.mix:
                schemes = plan.mix.schemes
                watch = StepProgress(progress, f"Measuring widths for {TARGETS[name].title}", len(schemes))
                measures = calibration.mean_squares, calibration.output_gradients
                harms = measure_harms(weights, schemes, *measures, held_out.columns, held_out.fraction, watch)
                plans[name] = plan.measured(harms, plan.correction_bytes(held_out.columns, held_out.fraction))
        return replace(self, by_target=plans)

    @property
    def schemes(self) -> set[Scheme]:
        """All that a matrix is or may come to be."""
        mixes = (plan.mix for plan in self.by_target.values() if plan.mix)
        options = (matrix for mix in mixes for each in mix.options for matrix in each)
        return {matrix.scheme for matrix in (*self.matrices, *options)}

    @property
    def output_bytes(self) -> int:
        """Size of the package, estimated."""
        return sum(plan.stored_bytes for plan in self.by_target.values()) + self.correction_bytes + OTHER_BYTES

    @property
    def kept_bytes(self) -> int:
        """Size of what is kept until the conversion ends, for the next try: a byte for each weight of each plan."""
        distinct = {plan.schemes: plan for plan in self.by_target.values()}
        return sum(matrix.weights for plan in distinct.values() for matrix in plan.matrices)

    @property
    def memory_bytes(self) -> int:
        """Peak memory, estimated: the libraries, and the largest of three stages. Calibration holds the residual stream
        and the MLP of its windows in float32; compensation two residual streams three times, the MLP of a batch and the
        moments of its inputs; compression the largest matrix in float32, its codes and its packed bytes. Factors
        measured on SmolLM2-135M (benchmark `conversion`) and on Mistral 7B's shape (`convert-7b`); they include
        what malloc keeps, and runs differ by a fifth. Workers each have the libraries and a matrix at hand."""
        hidden, wide = self.spec.hidden_size, self.spec.intermediate_size
        tokens = CALIBRATION_WINDOWS * CALIBRATION_TOKENS
        activations = 4 * tokens * (3 * hidden + 4 * wide)
        largest = max(plan.largest for plan in self.by_target.values())
        read = (
            CALIBRATION_TOKENS * compensation_windows(self._parameters) if self.settings.calibration == "default" else 0
        )
        streams = 4 * 2 * (3 * read * hidden + 6 * min(read, BATCH_TOKENS) * wide)
        compensation = streams + 64 * wide**2 + 12 * largest if read else 0
        workers = self.settings.workers if self.settings.workers > 1 and not read else 0
        beside = workers * (LIBRARY_BYTES + 10 * largest)
        return LIBRARY_BYTES + max(5 * activations // 4, 10 * largest, compensation) + beside

    @property
    def _parameters(self) -> int:
        return sum(m.weights for m in next(iter(self.by_target.values())).matrices)


def make_plans(spec: DecoderSpec, settings: Settings) -> Plans:
    """Plan each target. Raises UsageError for settings that a target or the model cannot have."""
    if settings.hold_out_fraction and not settings.hold_out:
        raise UsageError("--no-hold-out and --hold-out-fraction exclude each other: give one of them.")
    if settings.portable and "onnx" not in settings.targets:
        raise UsageError("--portable is a form of ONNX: give --target onnx, or leave it out.")
    if settings.ablation and not settings.hold_out:
        raise UsageError("--ablation shows what holding out does, and --no-hold-out leaves that out: give one of them.")
    _check_rounding(settings)
    context = settings.context or min(spec.max_positions, DEFAULT_CONTEXT)
    if not 1 <= context <= spec.max_positions:
        raise UsageError(f"--context {context} is out of range: this model has 1 to {spec.max_positions} positions.")
    form = make_layout(settings.compute, settings.lengths, max(settings.chunks, 1), context, settings.ablation)
    plans = {}
    for name in settings.targets:
        try:
            plans[name] = make_plan(
                spec,
                TARGETS[name].capabilities_for(form, settings.portable, settings.ranges is not None),
                settings.bits,
                settings.scheme,
                settings.group_size,
                size=settings.size,
                embedding_bits=settings.embedding_bits,
                cluster_dim=settings.cluster_dim,
            )
        except UsageError as error:
            raise UsageError(f"--target {name}: {error}") from error
        if plans[name].mix and settings.calibration == "none":
            raise UsageError(
                f"--target {name}: which matrix gets how many bits is measured on a calibration text, and "
                "--calibrate none leaves that out. Take whole --bits that the format has, or another --calibrate."
            )
        if TARGETS[name].has_forms:
            form = replace(form, chunks=settings.chunks or chunks_needed(spec, plans[name]))
            split_layers(spec, plans[name], form.chunks)
    return Plans(spec, context, plans, settings, form)


def _check_rounding(settings: Settings) -> None:
    """UsageError for what does not go with 8-bit activations."""
    if settings.ranges is None:
        return
    if settings.ablation:  # inputs of held-out columns would be rounded within ranges that leave them out
        raise UsageError("--ablation and --activations 8 do not go together: leave one of them out.")
    if settings.size is not None or settings.bits != 8 or settings.group_size is not None:
        raise UsageError(
            "--activations 8 goes with --bits 8 and one scale a row: leave out --size, --group-size and other --bits."
        )
    if settings.ranges != "static" and "coreml" in settings.targets:
        raise UsageError(
            f"--ranges {settings.ranges}: Core ML rounds within fixed ranges: leave it out, or --ranges static."
        )
    if settings.ranges == "static" and settings.calibration == "none":
        raise UsageError(
            "--calibrate none: static ranges are measured on a calibration text. Take another --calibrate."
        )
