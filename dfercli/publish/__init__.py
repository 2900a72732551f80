"""Trained models for others to use: as an ONNX file, and on the Hugging Face Hub."""

from dfercli.errors import DferError


class PublishError(DferError):
    """A model that cannot be written as ONNX, or cannot be put on the Hub."""
