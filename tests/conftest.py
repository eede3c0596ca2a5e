"""Loaded before any test."""

import contextlib

# PyTorch's usual build brings Triton, which crashes Python where TensorFlow was loaded before it.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401
