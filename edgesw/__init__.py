"""edgesw turns Hugging Face language models into Core ML and ONNX packages, with their super weights held out.

The Python API, which the command line uses too: `detect`, `convert`, `open_package`, `validate`, and the classes of
what they take and return. docs/api.md has examples. Importing edgesw is quick: libraries load when a function is
called.

Whatever cannot be done raises an `EdgeswError` whose message says what is wrong, where, and what to do next;
`UsageError` is the one for wrong arguments and input.
"""

from __future__ import annotations

from edgesw.errors import EdgeswError, UsageError

# The command line imports this before it can answer Ctrl-C: what takes long to import is left to what needs it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from edgesw.conversion.plans import Plans
    from edgesw.conversion.settings import Settings
    from edgesw.outliers.detection import Detection
    from edgesw.progress import Progress
    from edgesw.targets.coreml import CoreMLOptions
    from edgesw.targets.onnx import OnnxOptions
    from edgesw.targets.opened_package import Package
    from edgesw.validation.validation_report import ValidationReport
    from edgesw.validation.verdict import Limits

__version__ = "0.2.0"

__all__ = [
    "CoreMLOptions",
    "Detection",
    "EdgeswError",
    "OnnxOptions",
    "Package",
    "Settings",
    "UsageError",
    "ValidationReport",
    "convert",
    "detect",
    "open_package",
    "validate",
]

_CLASSES = {
    "CoreMLOptions": "edgesw.targets.coreml",
    "Detection": "edgesw.outliers.detection",
    "OnnxOptions": "edgesw.targets.onnx",
    "Package": "edgesw.targets.opened_package",
    "Settings": "edgesw.conversion.settings",
    "ValidationReport": "edgesw.validation.validation_report",
    "Limits": "edgesw.validation.verdict",
}


def __getattr__(name: str) -> Any:
    """Imports a class of the API when it is first used."""
    from importlib import import_module

    if name not in _CLASSES:
        raise AttributeError(f"module 'edgesw' has no attribute '{name}'")
    return getattr(import_module(_CLASSES[name]), name)


def _silent(stage: str, step: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def detect(
    model: str | Path, *, revision: str | None = None, confirm: bool = True, progress: Progress = _silent
) -> Detection:
    """Finds the super weights and super activations of a model, in streamed passes over one short prompt.

    `model` is a folder with safetensors, a .gguf file, a recipe's name or a hub id; `revision` a branch, tag or commit
    on the hub. Without `confirm` the effects of candidates are not measured. `progress(stage, step, done, total)` is
    called as the work goes on.
    """
    from edgesw.outliers.detection import detect_model

    return detect_model(str(model), revision, confirm=confirm, progress=progress)


def convert(
    model: str | Path,
    output: str | Path,
    settings: Settings,
    *,
    revision: str | None = None,
    force: bool = False,
    progress: Progress = _silent,
    decided: Callable[[Plans], None] = lambda plans: None,
) -> Package:
    """Compresses a model and writes a package with a model for each target of the settings; returns it opened.

    `output` appears only when all is there; an interrupted conversion resumes when it is called again. `force` replaces
    an existing package. `decided(plans)` is called once mixed widths are decided, before anything is compressed. The
    other arguments are those of `detect`.
    """
    from pathlib import Path

    from edgesw.conversion.convert import convert as run
    from edgesw.targets.opened_package import Package

    folder = Path(output).absolute()  # the current folder may be the one that is replaced
    run(str(model), settings, Path(output), revision=revision, force=force, progress=progress, decided=decided)
    return Package(folder)


def open_package(path: str | Path) -> Package:
    """Opens a package that `convert` wrote, to generate text or compute logits."""
    from edgesw.targets.opened_package import Package

    return Package(path)


def validate(
    package: str | Path | Package,
    *,
    text: str | None = None,
    against: str | Path | None = None,
    other_model: bool = False,
    targets: tuple[str, ...] = (),
    windows: int | None = None,
    tokens: int = 512,
    limits: Limits | None = None,
    details: bool = False,
    long: bool = False,
    tasks: str | None = None,
    progress: Progress = _silent,
    **runtime: Any,
) -> ValidationReport:
    """Measures a package against its float model: perplexity, KL divergence, top-1 agreement, and a verdict.

    `text` is a UTF-8 file, "wikitext2" (fetched from the hub), or None for the text of several kinds that ships.
    `against` is the float model, by default the one the package was made from; another one is refused unless
    `other_model` is set. Each of `targets` (default: all) is measured over `windows` windows of `tokens` tokens (by
    default 2 of each kind, or 8 of a text of one's own) and passes if it is within `limits` on every kind of text:
    KL divergence, top-1 agreement and perplexity. `details` adds samples and the error of each matrix, `long` reads the
    text to the end of the package's context, and `tasks` has float model and package answer questions: "some" or "all"
    of those that ship, or a file.
    `runtime` are further keyword arguments of `edgesw.validation.validate.validate`: precision, compute, cpus.
    """
    from pathlib import Path

    from edgesw.text.texts import load_texts
    from edgesw.validation.task_file import find_tasks
    from edgesw.validation.validate import validate as run
    from edgesw.validation.verdict import Limits

    path = Path(package) if isinstance(package, (str, Path)) else package.path
    return run(
        path,
        load_texts(text),
        against=None if against is None else str(against),
        other_model=other_model,
        targets=targets,
        count=windows,
        tokens=tokens,
        limits=limits or Limits(),
        details=details,
        long=long,
        tasks=None if tasks is None else find_tasks(tasks),
        progress=progress,
        **runtime,
    )
