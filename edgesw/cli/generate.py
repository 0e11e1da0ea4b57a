"""edgesw generate"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.argument("prompt")
@click.option("--target", help="Which model of the package.  [default: the first]")
@click.option("--max-tokens", default=64, show_default=True, type=click.IntRange(1), help="Most tokens to write.")
@click.option(
    "--uncorrected",
    is_flag=True,
    help="Without what is held out, to see what that does: needs a package converted with --ablation.",
)
@click.option("--chat", is_flag=True, help="Put the prompt into the model's chat template.")
def generate(package: Path, prompt: str, target: str | None, max_tokens: int, uncorrected: bool, chat: bool) -> None:
    """Continue PROMPT with the model in PACKAGE, greedily, on the runtime at hand."""
    from edgesw.errors import PackageError
    from edgesw.package.package import check_files, read_manifest
    from edgesw.runtime.generate import generate as run
    from edgesw.targets.targets import open_decoder
    from edgesw.text.tokenizer import Tokenizer

    manifest = read_manifest(package)
    check_files(package, manifest)
    tokenizer = Tokenizer.from_folder(package, PackageError)
    text = tokenizer.chat_prompt([{"role": "user", "content": prompt}]) if chat else prompt
    ids = tokenizer.encode(text, bos=not chat)
    # An ablation is Core ML's alone.
    default = "coreml" if uncorrected else next(iter(manifest.models))
    decoder = open_decoder(package, manifest, target or default, corrected=not uncorrected)
    stop = tokenizer.eos_ids or manifest.decoder.eos_token_ids
    tokens = run(decoder, ids, stop, max_tokens)
    if not chat:
        click.echo(prompt, nl=False)
    stream = tokenizer.stream()
    for token in tokens:
        click.echo(stream.push(token), nl=False)
    click.echo(stream.end())
