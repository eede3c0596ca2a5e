"""Loaded before any test."""

import contextlib
import gc
import json
import os
import shutil
import signal
import subprocess
import warnings

import pytest

# PyTorch's usual build brings Triton, which crashes Python where TensorFlow was loaded before it.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

# A run in the background (nohup, &) is deaf to Ctrl-C, and so would be all that it starts: then
# the tests of Ctrl-C would have nothing to test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

APT = "apt-get install -y --no-install-recommends chromium"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

# What takes longest, longest first.
SLOWEST = ("bert", "site_browser", "backends", "cli", "hub", "scenarios")


def pytest_collection_modifyitems(items):
    """Begin with what takes longest: begun last, it would keep one of the workers waiting."""
    rank = {f"test_{name}": i for i, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture
def nothing_left_open():
    """Fails where the test has left a file open that nobody holds any more."""
    gc.collect()
    with warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert not [str(w.message) for w in met if issubclass(w.category, ResourceWarning)]


@pytest.fixture
def eagerly():
    """TensorFlow computes without a graph: to trace one takes longer than a few steps."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def small_encoder(tmp_path_factory):
    """The folder of a small random encoder, for what does not depend on what an encoder knows."""
    from sentiment_course.assets import asset_path
    from sentiment_course.doctor import quiet

    with quiet():
        from sentiment_course.encoders import Encoder, build_encoder, read_vocabulary, save_encoder
    folder, minilm = tmp_path_factory.mktemp("small"), asset_path("minilm")
    config = json.loads((minilm / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
               "intermediate_size": 32}  # fmt: skip
    tokenizer = read_vocabulary(minilm / "vocab.txt", True, config["vocab_size"])
    save_encoder(Encoder(build_encoder(config), tokenizer, config, True), folder)
    return folder


def chromium():
    """The path of Chromium, installed by apt if this machine lacks it and we may."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    may_install = shutil.which("apt-get") and os.geteuid() == 0
    if not any(map(shutil.which, names)) and may_install:
        for command in ("apt-get update", APT):
            subprocess.run(command.split(), stdout=subprocess.DEVNULL, check=False)
    found = next(filter(None, map(shutil.which, names)), None)
    return found or pytest.fail(f"Chromium is missing: run `sudo {APT}`", pytrace=False)


@pytest.fixture(scope="session")
def browser():
    """One for all tests of a worker: a second one beside it would be refused."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield running
        running.close()
