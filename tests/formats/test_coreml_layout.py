"""CoreMLLayout: apps and runtimes call a program's functions by the names and lengths that it lists."""

from __future__ import annotations

import pytest

from edgesw.formats.coreml_layout import CoreMLLayout, is_corrected


@pytest.mark.parametrize(
    ("layout", "functions"),
    [
        (CoreMLLayout(), {"main": ()}),
        (CoreMLLayout("gpu", (1, 16)), {"main": (1, 16)}),
        (CoreMLLayout("ane", (1, 16)), {"decode": (1,), "prefill": (16,)}),
        (CoreMLLayout("all", (1, 16, 64)), {"decode": (1,), "prefill_16": (16,), "prefill_64": (64,)}),
        (CoreMLLayout("ane", (16,)), {"prefill": (16,)}),
    ],
)
def test_a_program_has_one_function_or_one_per_length(
    layout: CoreMLLayout, functions: dict[str, tuple[int, ...]]
) -> None:
    """The Neural Engine's functions have fixed shapes; an app that called one with another length would fail."""
    assert {each.name: each.lengths for each in layout.functions} == functions
    assert all(each.corrected for each in layout.functions)


def test_an_ablation_has_each_function_twice() -> None:
    """An app that takes the one without corrections for the model would show a destroyed one."""
    layout = CoreMLLayout("ane", (1, 16), ablation=True)
    names = {each.name: each.corrected for each in layout.functions}
    assert names == {"decode": True, "decode_uncorrected": False, "prefill": True, "prefill_uncorrected": False}
    assert layout.functions[0].corrected, "the first is the program's default function"
    assert all(is_corrected(name) == corrected for name, corrected in names.items())
