"""Turns Hugging Face language models into Core ML and ONNX packages, with their super weights held out."""

__version__ = "0.1.0"
