"""CoreMLLayout: which of Apple's compute units a Core ML model is made for, and how many tokens it takes at once."""

from __future__ import annotations

from dataclasses import dataclass

from edgesw.errors import UsageError

COMPUTE_KEY = "edgesw.compute"
"""In the metadata of an .mlpackage: the units that it is made for."""
COUNTER, COUNTER_BASE = "tokenCount", 1024
"""The state of a program that counts its tokens itself, float16 (2,), which counts to 2048: their number divided by the
base, and the rest."""
UNITS = ("gpu", "ane", "cpu", "all")
_UNCORRECTED = "_uncorrected"
# How many tokens of a prompt the Neural Engine takes at once: its programs have fixed shapes.
PREFILL = 64
LONGEST = 1024


@dataclass(frozen=True)
class ProgramFunction:
    """A function of a Core ML program."""

    name: str
    lengths: tuple[int, ...]
    """How many tokens it takes at once. Empty: any number."""

    @property
    def corrected(self) -> bool:
        """Whether it adds back what is held out."""
        return is_corrected(self.name)

    @property
    def without_corrections(self) -> ProgramFunction:
        """The same function without what is held out."""
        return ProgramFunction(self.name + _UNCORRECTED, self.lengths)


@dataclass(frozen=True)
class CoreMLLayout:
    """How a Core ML program is laid out and called."""

    compute: str = "gpu"
    """The compute units it is made for, one of UNITS: "all" is the Neural Engine and the GPU."""
    lengths: tuple[int, ...] = ()
    """How many tokens it takes at once, ascending. Empty: any number, and the program counts them by itself."""
    chunks: int = 1
    """How many packages its layers are split into."""
    ablation: bool = False
    """Whether each function is there a second time without what is held out, over the same weights."""

    @property
    def convolutions(self) -> bool:
        """Whether products are 1x1 convolutions over (1, channels, 1, tokens), the Neural Engine's own layout."""
        return self.compute == "ane"

    @property
    def functions(self) -> tuple[ProgramFunction, ...]:
        """All functions of the program, in its order."""
        return tuple(
            each
            for function in self._corrected_functions()
            for each in ((function, function.without_corrections) if self.ablation else (function,))
        )

    def _corrected_functions(self) -> list[ProgramFunction]:
        if not self.lengths or self.compute in ("gpu", "cpu"):
            return [ProgramFunction("main", self.lengths)]
        longer = [length for length in self.lengths if length > 1]
        names = {length: "prefill" if len(longer) == 1 else f"prefill_{length}" for length in longer}
        return [ProgramFunction({**names, 1: "decode"}[length], (length,)) for length in self.lengths]


def is_corrected(function: str) -> bool:
    """Whether the function of this name adds back what is held out."""
    return not function.endswith(_UNCORRECTED)


def chunk_names(chunks: int) -> list[str]:
    """The names of the .mlpackages in the folder of a model in several chunks, in order."""
    return [f"{number}-of-{chunks}.mlpackage" for number in range(1, chunks + 1)]


def make_layout(
    compute: str, lengths: tuple[int, ...] | None, chunks: int, context: int, ablation: bool = False
) -> CoreMLLayout:
    """The layout for these units; `lengths` None: what suits them. Raises UsageError for lengths that they cannot
    have."""
    static = compute in ("ane", "all")
    if lengths is None:
        lengths = (1, min(PREFILL, context)) if static else ()
    if static and not lengths:
        raise UsageError(f"--compute {compute} has programs of fixed lengths: give --lengths as 1,64.")
    longest = min(LONGEST, context)
    if bad := [length for length in lengths if not 1 <= length <= longest]:
        raise UsageError(f"--lengths {bad[0]} is out of range: this package takes 1 to {longest} tokens at once.")
    return CoreMLLayout(compute, tuple(sorted(set(lengths))), chunks, ablation)
