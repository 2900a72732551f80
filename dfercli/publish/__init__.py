"""Publishing trained models: as an ONNX file, and on the Hugging Face Hub."""

from dfercli.errors import DferError


class PublishError(DferError):
    """A model cannot be written as ONNX, or cannot be uploaded to the Hub."""
