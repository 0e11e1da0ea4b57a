"""Settings: what a conversion is asked for, checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgesw.calibration.effort import EFFORTS
from edgesw.compress.plan import HEAD_BITS
from edgesw.errors import UsageError
from edgesw.formats.activation_quantization import RANGES, STATIC
from edgesw.targets.registry import TARGETS

DEFAULT_BITS, ACTIVATION_BITS = 4, 8


@dataclass(frozen=True)
class Settings:
    """What the user asks of a conversion. UsageError for settings that contradict each other."""

    targets: tuple[str, ...]
    """Names of TARGETS."""
    bits: float | None = None
    """Code bits per weight of the layers' matrices; None: 4, or 8 with 8-bit activations."""
    size: int | None = None
    """Bytes of a target's weights, instead of `bits`."""
    scheme: str | None = None
    """"palette" or "block"; None: what the target prefers."""
    group_size: int | None = None
    """Rows that share a palette (0: all), or columns that share a scale; None: the scheme's default."""
    cluster_dim: int = 1
    """Most values per palette entry: 1, 2 or 4."""
    embedding_bits: int = HEAD_BITS
    """Code bits of the embedding and of the output head."""
    activations: str | None = None
    """Granularity of 8-bit activations, one of RANGES; "" for the first that all targets have; None for activations as
    the runtime computes them."""
    context: int = 0
    """Tokens that the caches hold; 0: the model's own number, at most 2048."""
    hold_out: bool = True
    hold_out_fraction: float = 0.0
    """The share of each matrix's scalars to hold out besides super weights and outlier channels: those that
    quantization harms most."""
    calibration: str = "default"
    """The text to calibrate on: `default` for the one that ships, `none` for none, else a file."""
    effort: str = "balanced"
    """One of EFFORTS: how much time is spent on quality."""
    workers: int = 1
    """Processes that compress matrices which do not depend on one another."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What is asked of a target alone: name -> an instance of its class `asked`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(dict.fromkeys(self.targets)))
        if not self.targets:
            raise UsageError(f"no target is given: take one or more of {', '.join(TARGETS)}.")
        for name in self.targets:
            if name not in TARGETS:
                raise UsageError(f"there is no target '{name}': take one of {', '.join(TARGETS)}.")
        if self.effort not in EFFORTS:
            raise UsageError(f"--effort {self.effort}: take {', '.join(EFFORTS[:-1])} or {EFFORTS[-1]}.")
        if self.bits is not None and self.size is not None:
            raise UsageError("--bits and --size are mutually exclusive: give one of them.")
        if self.hold_out_fraction and not self.hold_out:
            raise UsageError("--no-hold-out and --hold-out-fraction are mutually exclusive: give one of them.")
        for name, asked in self.options.items():
            if name not in self.targets and asked != TARGETS[name].asked():
                flags = TARGETS[name].flags
                listed = " and ".join(filter(None, (", ".join(flags[:-1]), flags[-1])))
                be = "are" if len(flags) > 1 else "is"
                raise UsageError(f"{listed} {be} for {TARGETS[name].title} models: add --target {name}.")
        if self.activations is not None:
            self._check_activations()
        for name in self.targets:
            TARGETS[name].check(self.asked(name), hold_out=self.hold_out, activations=self.activations)

    def _check_activations(self) -> None:
        """UsageError for what 8-bit activations do not allow. Decides the granularity where none is given."""
        common = [each for each in RANGES if all(each in TARGETS[name].granularities for name in self.targets)]
        if not self.activations:
            if not common:
                raise UsageError("--activations 8: these targets have no granularity in common: convert one by one.")
            object.__setattr__(self, "activations", common[0])
        for name in self.targets:
            can = TARGETS[name].granularities
            if self.activations not in can:
                raise UsageError(
                    f"--ranges {self.activations}: {TARGETS[name].title} models have "
                    f"{' or '.join(can) or 'no'} 8-bit activations: "
                    + (f"leave it out, or take --ranges {can[0]}." if can else "leave out --activations.")
                )
        if self.size is not None or self.bits not in (None, ACTIVATION_BITS) or self.group_size is not None:
            raise UsageError(
                "--activations 8 goes with --bits 8 and one scale per row: leave out --size, --group-size and other "
                "--bits."
            )
        if self.activations == STATIC and self.calibration == "none":
            raise UsageError(
                "--calibrate none: static ranges are measured on a calibration text. Take another --calibrate."
            )

    @property
    def code_bits(self) -> float:
        """Code bits per weight where no size is asked for."""
        if self.bits is not None:
            return self.bits
        return DEFAULT_BITS if self.activations is None else ACTIVATION_BITS

    def asked(self, target: str) -> Any:
        """What is asked of a target alone."""
        return self.options.get(target) or TARGETS[target].asked()
