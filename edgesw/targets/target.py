"""Target: a format of models. What a target can store, how its models are written, opened, decoded and inspected."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgesw.compress.capabilities import Capabilities
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.plan import CompressionPlan
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import EdgeswError, PackageError
from edgesw.files.type_check import structure
from edgesw.formats.write_options import WriteOptions
from edgesw.inspect.contents import ModelContents
from edgesw.package.manifest import Manifest, PackagedModel
from edgesw.progress import Progress
from edgesw.runtime.packaged_decoder import PackagedDecoder, PackageMatrices
from edgesw.system.findings import Finding

PROMPT = 3
"""The length of a prompt to check a model with: more than one token, so that a wrong order shows."""

Asked = TypeVar("Asked")
Options = TypeVar("Options")


class Target(ABC, Generic[Asked, Options]):
    """A format of models.

    `Asked` is what a user can ask of this target alone, `Options` what a conversion makes of it, which the manifest
    records: both frozen dataclasses, or the same one. The libraries that a target needs load when they are used: each
    takes seconds.
    """

    name: ClassVar[str]
    """On the command line and in the manifest."""
    title: ClassVar[str]
    """For people."""
    asked: ClassVar[type]
    """The class `Asked`; its defaults are the target's."""
    options: ClassVar[type]
    """The class `Options`."""
    suffix: ClassVar[str]
    """Of model files that `inspect` reads, with the dot."""
    libraries: ClassVar[Mapping[str, str]] = {}
    """What writing models needs: distribution -> what for."""
    granularities: ClassVar[tuple[str, ...]] = ()
    """Granularities of 8-bit activations that the format has, preferred first."""
    units: ClassVar[tuple[str, ...]] = ()
    """Compute units that its runtime can be asked for on this kind of machine."""
    flags: ClassVar[tuple[str, ...]] = ()
    """The options of `edgesw convert` that ask for `Asked`, for messages."""
    runs_on_arm: ClassVar[bool] = False
    """Whether `open_on_arm` runs its models on emulated ARM processors."""

    # --- Planning ---

    @abstractmethod
    def capabilities(self, options: Options, quantized_activations: bool = False) -> Capabilities:
        """What the format can store."""

    def check(self, asked: Asked, *, hold_out: bool, activations: str | None) -> None:
        """UsageError where what is asked of the target does not go with the conversion's other settings."""

    @abstractmethod
    def resolve(self, asked: Asked, context: int) -> Options:
        """The options for a context of this many tokens. UsageError for what the target cannot do."""

    def fit(self, options: Options, asked: Asked, spec: DecoderSpec, plan: CompressionPlan) -> Options:
        """The options once the sizes of all matrices are known. UsageError where they do not fit the model."""
        return options

    # --- Models ---

    @abstractmethod
    def path(self, options: Options) -> str:
        """Where the model is in a package."""

    @abstractmethod
    def write(
        self, decoder: CompressedDecoder, spec: DecoderSpec, options: Options, common: WriteOptions, path: Path
    ) -> None:
        """Writes the model to `path`, and beside it what it needs."""

    @abstractmethod
    def open(
        self,
        path: Path,
        context: int,
        *,
        precision: str = "float16",
        compute: str | None = None,
        corrected: bool = True,
    ) -> PackagedDecoder:
        """Opens the model at `path` on this machine, with caches for `context` tokens. `precision` is that of an
        interpreter that stands in for a missing runtime; `compute` is one of `units`, None for the one the model is
        made for; not `corrected`: without what is held out, which only models with an ablation can do."""

    # --- Checking a model that was written ---

    def runs_here(self, plan: CompressionPlan) -> bool:
        """Whether this machine has a runtime that can run models of this plan."""
        return True

    def run_bytes(self, plan: CompressionPlan, options: Options) -> int:
        """Memory that `open_once` and running take, estimated: by default that of all weights in float32."""
        return 4 * sum(matrix.weights for matrix in plan.matrices)

    def open_once(self, path: Path, context: int, corrected: bool) -> PackagedDecoder:
        """As `open`, for a few steps: memory counts and speed does not."""
        return self.open(path, context, corrected=corrected)

    def prompts(self, options: Options) -> tuple[int, ...]:
        """Lengths of prompts that, with one more token after each, run every function of a model."""
        return (PROMPT,)

    def check_structure(self, path: Path, options: Options) -> None:
        """EdgeswError for a model that can be seen to be damaged without running it: by default what `inspect` sees,
        which is weights that are missing, cut short, or of another size than their shapes want."""
        self.inspect(path)

    @abstractmethod
    def matrices(self, package: Path, manifest: Manifest) -> PackageMatrices:
        """The matrices that the package's files hold, decoded."""

    def reads(self, path: Path) -> bool:
        """Whether `inspect` can read what is at this path, by its name."""
        return path.suffix == self.suffix and path.is_file()

    @abstractmethod
    def inspect(self, path: Path) -> tuple[ModelContents, ...]:
        """The contents of a model of this format, written by any tool, from its headers. UnreadableError,
        PackageError or UnsupportedError for one that is damaged or not known."""

    def usage(self, manifest: Manifest) -> str:
        """The model card's section on how to run the model, Markdown; empty for nothing to say."""
        return ""

    # --- The machine ---

    def findings(self) -> Iterator[Finding]:
        """What `edgesw doctor` says of this target besides its libraries."""
        yield from ()

    def is_native(self) -> bool:
        """Whether models run on this machine in the runtime they are made for, so that timings mean something."""
        return True

    def unit_shares(self, path: Path, compute: str | None) -> dict[str, float] | None:
        """The share of the model's operations on each compute unit; None where nothing says so."""
        return None

    def open_on_arm(self, path: Path, context: int, cpu: str, progress: Progress) -> PackagedDecoder:
        """Opens the model on an ARM processor, emulated where this machine is none."""
        raise EdgeswError(f"{self.title} models cannot be run on emulated ARM processors.")

    # --- Options in the manifest ---

    def has_ablation(self, options: Options) -> bool:
        """Whether the model can run without what is held out too."""
        return False

    def options_to_dict(self, options: Options) -> dict[str, Any]:
        """The options as JSON values."""
        return asdict(options)  # type: ignore[call-overload]

    def options_of(self, model: PackagedModel) -> Options:
        """The options of a model of a package. PackageError where the manifest's are damaged."""
        try:
            return structure(self.options, model.options)
        except ValueError as error:
            raise PackageError(f"manifest.json is damaged (options of {self.name}: {error}): convert again.") from error

    def model_path(self, package: Path, manifest: Manifest) -> Path:
        """Where the model is."""
        return package / manifest.models[self.name].path


def render(template: str, **values: Any) -> str:
    """A Markdown template of this folder."""
    environment = Environment(
        loader=PackageLoader("edgesw.targets"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template(template).render(**values)
