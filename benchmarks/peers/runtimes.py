"""Runtimes of peers, timed as their users run them: onnxruntime-genai and llama.cpp."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.lib.timing import Timed

FIRST_TOKEN = 100  # the prompt is this token and those after it


def genai(folder: Path, threads: int, prompt: int, tokens: int) -> Timed:
    """A package, edgesw's or the model builder's, in onnxruntime-genai."""
    import onnxruntime_genai as og

    config = og.Config(str(folder))
    config.overlay(f'{{"model": {{"decoder": {{"session_options": {{"intra_op_num_threads": {threads}}}}}}}}}')
    model = og.Model(config)

    def run() -> tuple[float, float]:
        settings = og.GeneratorParams(model)
        settings.set_search_options(max_length=prompt + tokens + 1, min_length=prompt + tokens + 1)
        generator = og.Generator(model, settings)
        began = time.perf_counter()
        generator.append_tokens(list(range(FIRST_TOKEN, FIRST_TOKEN + prompt)))
        generator.generate_next_token()
        read = time.perf_counter()
        for _ in range(tokens):
            generator.generate_next_token()
        return prompt / (read - began), tokens / (time.perf_counter() - read)

    return run


def llama_cpp(gguf: Path, threads: int, prompt: int, tokens: int) -> Timed:
    """A GGUF file in llama.cpp."""
    from llama_cpp import Llama

    model = Llama(str(gguf), n_ctx=512, n_batch=prompt, n_threads=threads, n_threads_batch=threads, verbose=False)

    def run() -> tuple[float, float]:
        model.reset()
        began = time.perf_counter()
        model.eval(list(range(FIRST_TOKEN, FIRST_TOKEN + prompt)))
        token = model.sample(temp=0)
        read = time.perf_counter()
        for _ in range(tokens):
            model.eval([token])
            token = model.sample(temp=0)
        return prompt / (read - began), tokens / (time.perf_counter() - read)

    return run
