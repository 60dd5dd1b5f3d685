"""Random init, ImageNet pre-training or self-training: the loop that answers which, on anyone's data."""

__version__ = "0.1.0"
