"""Plans: what a conversion will do, target by target, and the memory and disk it needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from edgesw.calibration.calibrate import (
    CALIBRATION_TOKENS,
    CALIBRATION_WINDOWS,
    Calibration,
)
from edgesw.calibration.effort import compensation_windows
from edgesw.compress.compensated import CACHED, MOST_COLUMNS
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.mixed_precision import MatrixPlan
from edgesw.compress.plan import CompressionPlan, make_plan
from edgesw.compress.scheme import Scheme
from edgesw.compress.sensitivity import measure_sensitivities
from edgesw.conversion.settings import Settings
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import UsageError
from edgesw.formats.activation_quantization import SHARED_RANGES
from edgesw.progress import Progress, StepProgress
from edgesw.runtime.streams import BATCH_TOKENS
from edgesw.targets.registry import TARGETS

DEFAULT_CONTEXT = 2048
# What a package holds besides weights: the graph of a layer (Core ML's take 26 to 60 kB, ONNX's 5), the tokenizer by
# token of the vocabulary (SmolLM2's takes 32 bytes, Llama 3's 70), the manifest and the model card.
GRAPH_BYTES, TOKEN_BYTES, TEXT_BYTES = 32_000, 50, 16_000
LIBRARY_BYTES = 330 << 20
# What the runtimes take beside them that run what was written; and running it at most, unless converting takes more.
RUNTIME_BYTES, RUN_BYTES = 160 << 20, 1 << 30
# Columns held out of a matrix, on average: 3.9 in SmolLM2-135M, 13 where they share a range. Calibration decides which.
COLUMNS_EACH, RANGE_COLUMNS_EACH = 4, 13


@dataclass(frozen=True)
class TargetPlan:
    """The plan for one target."""

    compression: CompressionPlan
    options: Any
    """The target's own: an instance of its class `options`."""


@dataclass(frozen=True)
class Plans:
    """What a conversion will do, target by target, and what it needs."""

    spec: DecoderSpec
    context: int
    settings: Settings
    targets: dict[str, TargetPlan]

    @property
    def compressions(self) -> dict[str, CompressionPlan]:
        """The plan of each target's matrices."""
        return {name: plan.compression for name, plan in self.targets.items()}

    @property
    def correction_bytes(self) -> int:
        """Size of the corrections of all targets, estimated."""
        count = RANGE_COLUMNS_EACH if self.settings.activations in SHARED_RANGES else COLUMNS_EACH
        columns = dict.fromkeys(self.spec.matrices(), tuple(range(count))) if self.settings.hold_out else {}
        hold_out = HoldOut(columns, fraction=self.settings.hold_out_fraction)
        return sum(plan.correction_bytes(hold_out) for plan in self.compressions.values())

    @property
    def compensated(self) -> bool:
        """Whether matrices are compressed with error compensation."""
        return self.settings.calibration != "none" and self.settings.effort != "fast"

    @property
    def mixed(self) -> bool:
        """Whether sensitivities are to be measured to decide widths."""
        return any(plan.mixed_precision for plan in self.compressions.values())

    @property
    def matrices(self) -> tuple[MatrixPlan, ...]:
        """Those of all targets."""
        return tuple(matrix for plan in self.compressions.values() for matrix in plan.matrices)

    def measured(self, weights: Weights, calibration: Calibration, hold_out: HoldOut, progress: Progress) -> Plans:
        """Returns these plans with the widths of every mixed precision decided by measured sensitivities."""
        plans = dict(self.targets)
        for name, plan in self.compressions.items():
            if plan.mixed_precision:
                schemes = plan.mixed_precision.schemes
                watch = StepProgress(progress, f"Measuring widths for {TARGETS[name].title}", len(schemes))
                measures = calibration.mean_squares, calibration.output_gradients
                harms = measure_sensitivities(weights, schemes, *measures, hold_out, watch)
                decided = plan.measured(harms, plan.correction_bytes(hold_out))
                plans[name] = replace(plans[name], compression=decided)
        return replace(self, targets=plans)

    @property
    def schemes(self) -> set[Scheme]:
        """All schemes that a matrix has or may get."""
        mixes = (plan.mixed_precision for plan in self.compressions.values() if plan.mixed_precision)
        options = (matrix for mix in mixes for each in mix.options for matrix in each)
        return {matrix.scheme for matrix in (*self.matrices, *options)}

    @property
    def output_bytes(self) -> int:
        """Size of the package, estimated."""
        spec = self.spec
        stored = sum(plan.stored_bytes for plan in self.compressions.values()) + self.correction_bytes
        norms = 4 * spec.hidden_size * (2 * spec.layers + 1)
        tables = 4 * self.context * spec.head_dim * len(spec.rotaries)
        each = GRAPH_BYTES * spec.layers + norms + tables
        return stored + len(self.targets) * each + TOKEN_BYTES * spec.vocab_size + TEXT_BYTES

    @property
    def cache_bytes(self) -> int:
        """Size of the compressed matrices that are cached until the conversion ends, so that an interrupted one can
        resume: a byte for each weight of each distinct plan."""
        distinct = {plan.schemes: plan for plan in self.compressions.values()}
        return sum(matrix.weights for plan in distinct.values() for matrix in plan.matrices)

    @property
    def memory_bytes(self) -> int:
        """Peak memory, estimated: the libraries, and the largest of four stages. Calibration holds the residual stream
        and the MLP of its windows in float32; compensation two residual streams three times, the MLP of a batch and the
        Hessians of its inputs; compression the largest matrix in float32, its codes and its packed bytes; the check of
        what was written the model, if `is_run`. The factors were measured on SmolLM2-135M and on Mistral 7B's shape
        (`python -m benchmarks`: conversion, convert-7b); they include what malloc does not give back, and runs differ
        by a fifth. Each worker has the libraries and a matrix."""
        workers = self.settings.workers if self.settings.workers > 1 and not self._compensation_tokens else 0
        checks = [self.check_bytes(name) for name in self.targets if self.is_run(name)]
        return LIBRARY_BYTES + max([self._compression_bytes, *checks]) + workers * (LIBRARY_BYTES + 10 * self._largest)

    def check_bytes(self, target: str) -> int:
        """Memory beside the libraries that it takes to run the target's model once it is written, estimated, and the
        float decoder that it is compared with."""
        plan = self.targets[target]
        running = TARGETS[target].run_bytes(plan.compression, plan.options)
        return RUNTIME_BYTES + max(running, 6 * plan.compression.largest)

    def is_run(self, target: str) -> bool:
        """Whether the target's model is run once it is written, however little memory is free: where that takes hardly
        more than converting does. A larger model needs free memory for it, and is not forecast to be run."""
        return self.check_bytes(target) <= max(RUN_BYTES, self._compression_bytes)

    @property
    def _largest(self) -> int:
        return max(plan.largest for plan in self.compressions.values())

    @property
    def _compensation_tokens(self) -> int:
        """The most that error compensation reads: a text may have fewer."""
        each = min(CALIBRATION_TOKENS, self.spec.max_positions)
        return each * compensation_windows(self.spec.parameters(), self.settings.effort) if self.compensated else 0

    @property
    def _compression_bytes(self) -> int:
        """The largest of the stages up to compression."""
        hidden, wide, read = self.spec.hidden_size, self.spec.intermediate_size, self._compensation_tokens
        tokens = CALIBRATION_WINDOWS * CALIBRATION_TOKENS
        activations = 4 * tokens * (3 * hidden + 4 * wide)
        streams = 4 * 2 * (3 * read * hidden + 6 * min(read, BATCH_TOKENS) * wide)
        streams += min(CACHED, 8 * read * wide)
        columns = max((width for width in (hidden, wide) if width <= MOST_COLUMNS), default=0)
        compensation = streams + 64 * columns**2 + 12 * self._largest if read else 0
        return max(5 * activations // 4, 10 * self._largest, compensation)


def make_plans(spec: DecoderSpec, settings: Settings) -> Plans:
    """Plans each target. Raises UsageError for settings that a target or the model cannot have."""
    context = settings.context or min(spec.max_positions, DEFAULT_CONTEXT)
    if not 1 <= context <= spec.max_positions:
        raise UsageError(f"--context {context} is out of range: this model has 1 to {spec.max_positions} positions.")
    targets = {name: _plan_target(spec, settings, name, context) for name in settings.targets}
    plans = Plans(spec, context, settings, targets)
    if settings.workers > 1 and plans.compensated:
        raise UsageError(
            "--workers: with error compensation a matrix is compressed after those before it, on all cores: leave "
            "--workers out, or take --effort fast."
        )
    return plans


def _plan_target(spec: DecoderSpec, settings: Settings, name: str, context: int) -> TargetPlan:
    target, asked = TARGETS[name], settings.asked(name)
    options = target.resolve(asked, context)
    try:
        plan = make_plan(
            spec,
            target.capabilities(options, settings.activations is not None),
            settings.code_bits,
            settings.scheme,
            settings.group_size,
            size=settings.size,
            embedding_bits=settings.embedding_bits,
            cluster_dim=settings.cluster_dim,
        )
    except UsageError as error:
        raise UsageError(f"--target {name}: {error}") from error
    if plan.mixed_precision and settings.calibration == "none":
        raise UsageError(
            f"--target {name}: how many bits each matrix gets is measured on a calibration text, and --calibrate none "
            "leaves that out. Take whole --bits that the format has, or another --calibrate."
        )
    return TargetPlan(plan, target.fit(options, asked, spec, plan))
