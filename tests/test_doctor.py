"""The doctor: what it finds, what it says to do, and that loading is quiet but not mute."""

import contextlib
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from sentiment_course import doctor
from sentiment_course.doctor import Finding, best_precision, check_environment, gpus, quiet

REPOSITORY = Path(__file__).parents[1]


def found(name):
    """The finding of that name."""
    return next(f for f in check_environment() if f.name == name)


OWN_CACHE = os.environ.get("SENTIMENT_COURSE_HOME", "")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("SENTIMENT_COURSE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


# quiet


def shout(text=b"noise\n"):
    os.write(2, text)
    subprocess.run([sys.executable, "-c", "import os; os.write(2, b'child\\n')"], check=True)


def test_quiet_hides_what_is_written_to_descriptor_2(capfd):
    with quiet():
        shout()
    os.write(2, b"heard\n")
    print("also heard", file=sys.stderr)
    assert capfd.readouterr().err == "heard\nalso heard\n"


def test_quiet_writes_it_out_where_an_exception_escapes(capfd):
    with pytest.raises(KeyError), quiet():
        shout(b"why\n")
        raise KeyError
    assert capfd.readouterr().err == "why\nchild\n"


def test_quiet_can_be_nested_and_leaks_no_descriptor(capfd):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with contextlib.suppress(ValueError), quiet():
            with quiet():
                os.write(2, b"inner\n")
            os.write(2, b"outer\n")
            raise ValueError
    assert len(os.listdir("/proc/self/fd")) == before
    assert capfd.readouterr().err == "outer\n" * 20


def test_quiet_without_an_error_output():
    code = (
        "import os; from sentiment_course.doctor import quiet\n"
        "os.close(2)\n"
        "with quiet(): print('done')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "done\n")


@pytest.mark.parametrize(
    "code",
    [
        "from sentiment_course.doctor import quiet\n"
        "with quiet(): import tensorflow\n"
        "tensorflow.get_logger().warning('not for a reader')",
        "from sentiment_course.encoders import load_tensorflow, quick_gelu\n"  # up to TensorFlow
        "quick_gelu(load_tensorflow().ones([2]))",  # 2.20, XLA greets though it was told not to
    ],
)
def test_tensorflow_loads_without_a_word(code):
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    environment |= {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


# precision


@pytest.mark.parametrize(
    "cards, flags, expected",
    [
        ([], set(), "float32"),
        ([], {"avx512f"}, "float32"),
        ([], {"avx512_bf16"}, "bfloat16"),
        ([], {"amx_bf16"}, "bfloat16"),
        ([("T4", (7, 5))], {"avx512_bf16"}, "float16"),
        ([("A100", (8, 0))], set(), "bfloat16"),
        ([("A100", (8, 0)), ("T4", (7, 5))], set(), "float16"),
        ([("V100", (7, 0))], set(), "float16"),
        ([("P100", (6, 0))], {"avx512_bf16"}, "float32"),
        ([("unknown", (0, 0))], set(), "float32"),
    ],
)
def test_best_precision(monkeypatch, cards, flags, expected):
    monkeypatch.setattr(doctor, "gpus", lambda: cards)
    monkeypatch.setattr(doctor, "cpu_flags", lambda: flags)
    assert best_precision() == expected


@pytest.mark.parametrize(
    "script, expected",
    [
        ("echo 'T4, 7.5'; echo 'H100, PCIe, 9.0'", [("T4", (7, 5)), ("H100, PCIe", (9, 0))]),
        ("echo 'No devices were found'", []),
        ("echo 'T4, [N/A]'", []),
        ("exit 9", []),
    ],
)  # fmt: skip
def test_gpus_by_nvidias_own_tool(monkeypatch, tmp_path, script, expected):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    assert gpus() == expected


def test_gpus_without_the_tool(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    assert gpus() == []


def test_gpus_are_those_that_tensorflow_can_use(monkeypatch):
    details = {"device_name": "Tesla T4", "compute_capability": (7, 5)}
    config = types.SimpleNamespace(
        list_physical_devices=lambda kind: ["card"] if kind == "GPU" else [],
        experimental=types.SimpleNamespace(get_device_details=lambda card: details),
    )
    monkeypatch.setitem(sys.modules, "tensorflow", types.SimpleNamespace(config=config))
    assert gpus() == [("Tesla T4", (7, 5))]


# findings


def test_every_finding_is_complete_and_advice_comes_with_a_fault():
    findings = check_environment()
    names = [f.name for f in findings]
    assert len(set(names)) == len(names)
    for f in findings:
        assert f.name and f.value and "\n" not in f.value
        assert bool(f.advice) == (not f.ok), f


def test_it_loads_nothing_heavy_and_starts_no_process():
    code = (
        "import sys, subprocess; from sentiment_course import doctor\n"
        "doctor.gpus = lambda: []\n"
        "subprocess.Popen = None\n"
        "doctor.check_environment()\n"
        "assert not {'tensorflow', 'keras', 'pandas', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_tested_versions_are_the_pinned_ones():
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = dict(re.fullmatch(r"([\w.-]+)==(\S+)", line).groups() for line in lines
                  if "==" in line and not line.startswith("#"))  # fmt: skip
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    for name, version in doctor.TESTED.items():
        assert pinned[name.lower()] == version, name


def test_a_package_that_is_missing_or_too_old(monkeypatch):
    versions = {"pandas": "1.5.3", "keras": "3.99"}
    real = doctor.metadata.version

    def version(name):
        if name == "tensorflow":
            raise doctor.metadata.PackageNotFoundError(name)
        return versions.get(name) or real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    assert not found("tensorflow").ok and found("tensorflow").value == "not installed"
    assert found("tensorflow").advice.endswith(
        f'-m pip install "tensorflow=={doctor.TESTED["tensorflow"]}"'
    )
    assert not found("pandas").ok and ">=2.2" in found("pandas").value
    assert found("keras").ok and "tested" in found("keras").value


def test_assets_missing_damaged_and_whole(cache):
    assert not found("asset reviews").ok
    assert found("asset reviews").advice == "sentiment-course assets reviews"
    assert found("asset chinese").ok and "not fetched" in found("asset chinese").value
    (cache / "chinese").mkdir(parents=True)
    assert not found("asset chinese").ok and "damaged" in found("asset chinese").value


def test_whole_assets_are_verified(monkeypatch):
    from sentiment_course.assets import asset_path

    monkeypatch.setenv("SENTIMENT_COURSE_HOME", OWN_CACHE)
    asset_path("reviews")
    assert found("asset reviews").ok and found("asset reviews").value.startswith("verified")


def test_disk(cache, monkeypatch):
    assert found("disk").ok
    full = types.SimpleNamespace(free=5e8)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: full)
    assert not found("disk").ok and "SENTIMENT_COURSE_HOME" in found("disk").advice
    full.free = 5e9
    monkeypatch.setattr(doctor.os, "access", lambda folder, how: False)
    assert not found("disk").ok and "not writable" in found("disk").value


@pytest.mark.parametrize("size, ok", [(None, True), (2e9, False), (8e9, True)])
def test_memory(monkeypatch, size, ok):
    monkeypatch.setattr(doctor, "_memory_size", lambda: size)
    assert found("memory").ok == ok


def test_keras_backend(monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert found("Keras backend") == Finding("Keras backend", "tensorflow")
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "mxnet"}))
    assert not found("Keras backend").ok
    (tmp_path / "keras.json").write_text("[")
    assert found("Keras backend").ok
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert "not installed" in found("Keras backend").value and found("Keras backend").advice


def test_no_pip(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "pip" else True)
    assert found("pip").advice.endswith("-m ensurepip")


def test_a_processor_that_tensorflow_cannot_use(monkeypatch):
    monkeypatch.setattr(doctor.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(doctor, "cpu_flags", lambda: {"sse2"})
    assert "AVX" in found("processor").value and not found("processor").ok


def test_loading_tensorflow(monkeypatch):
    done = types.SimpleNamespace(returncode=0, stderr="")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *args, **kwargs: done)
    assert check_environment(load=True)[-1] == Finding("loading TensorFlow", "works")
    done.returncode, done.stderr = 1, "Traceback\nImportError: libfoo.so"
    last = check_environment(load=True)[-1]
    assert not last.ok and last.value.endswith("libfoo.so") and "--force-reinstall" in last.advice
    done.returncode, done.stderr = -6, ""
    assert "crashed" in check_environment(load=True)[-1].value
