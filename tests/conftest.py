"""Loaded before any test."""

import contextlib
import signal

# PyTorch's usual build brings Triton, which crashes Python where TensorFlow was loaded before it.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

# A run in the background (nohup, &) is deaf to Ctrl-C, and so would be all that it starts: then
# the tests of Ctrl-C would have nothing to test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
