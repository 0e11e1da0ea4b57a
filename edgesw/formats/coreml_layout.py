"""Form: for which of Apple's compute units a Core ML package is shaped, and how many tokens it takes at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgesw.errors import UsageError

COMPUTE_KEY = "edgesw.compute"
"""Where a package of ours says which units it is made for, in its model's own metadata."""
UNITS = ("gpu", "ane", "cpu", "all")
UNCORRECTED = "_uncorrected"
"""How a function without what is held out is called: as the one with it, and this."""
# What prompts are fed in on the Neural Engine, whose programs have fixed shapes.
PREFILL = 64
LONGEST = 1024


@dataclass(frozen=True)
class CoreMLLayout:
    """How a Core ML program is shaped and called."""

    compute: str = "gpu"
    """The units it is made for, of UNITS: all is the Neural Engine with the GPU beside it."""
    lengths: tuple[int, ...] = ()
    """How many tokens it takes at once, ascending. Empty: any number, and the program counts them by itself."""
    chunks: int = 1
    """In how many packages its layers are."""
    ablation: bool = False
    """Whether each function is there once more without what is held out, over the same weights."""

    @property
    def convolutions(self) -> bool:
        """Whether products are 1x1 convolutions over (1, channels, 1, tokens), the Neural Engine's own layout."""
        return self.compute == "ane"

    @property
    def functions(self) -> dict[str, tuple[int, ...]]:
        """The program's functions and the numbers of tokens that each takes; none: any number. Those of the ablation
        are not among them."""
        if not self.lengths or self.compute in ("gpu", "cpu"):
            return {"main": self.lengths}
        longer = [length for length in self.lengths if length > 1]
        names = {length: "prefill" if len(longer) == 1 else f"prefill_{length}" for length in longer}
        return {{**names, 1: "decode"}[length]: (length,) for length in self.lengths}

    def described_functions(self) -> list[dict[str, Any]]:
        """All functions of the program, as the manifest lists them: name, the numbers of tokens each takes (empty: any
        number), and whether what is held out is added back."""
        kinds = ((True, ""), (False, UNCORRECTED)) if self.ablation else ((True, ""),)
        return [
            {"name": name + suffix, "lengths": list(lengths), "corrected": corrected}
            for corrected, suffix in kinds
            for name, lengths in self.functions.items()
        ]


FLEXIBLE = CoreMLLayout()


def chunk_names(chunks: int) -> list[str]:
    """The names of the .mlpackages in the folder of a model in several chunks, in order."""
    return [f"{number}-of-{chunks}.mlpackage" for number in range(1, chunks + 1)]


def make_layout(
    compute: str, lengths: tuple[int, ...] | None, chunks: int, context: int, ablation: bool = False
) -> CoreMLLayout:
    """`lengths` None: what suits the units. Raises UsageError for what they cannot have."""
    static = compute in ("ane", "all")
    if lengths is None:
        lengths = (1, min(PREFILL, context)) if static else ()
    if static and not lengths:
        raise UsageError(f"--compute {compute} has programs of fixed lengths: give --lengths as 1,64.")
    longest = min(LONGEST, context)
    if bad := [length for length in lengths if not 1 <= length <= longest]:
        raise UsageError(f"--lengths {bad[0]} is out of range: this package takes 1 to {longest} tokens at once.")
    return CoreMLLayout(compute, tuple(sorted(set(lengths))), chunks, ablation)
