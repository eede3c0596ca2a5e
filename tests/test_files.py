"""Files: in the place of another whole or not at all, and read whatever their encoding.

Tables (test_tables.py) test the encodings, training (test_training.py) what is a saved classifier.
"""

import contextlib
import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sentiment_course import files
from sentiment_course.files import excerpt, put_file


def contents(folder):
    """Every file under `folder` with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# Being stopped


@pytest.mark.parametrize("number", files.STOPS)
def test_a_stop_that_is_swallowed_is_remembered(number):
    done = []
    with pytest.raises(KeyboardInterrupt), files.stoppable():
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            done.append("never")
        done.append("swallowed")
    assert done == ["swallowed"]
    with files.stoppable():
        files.raise_if_stopped()  # that was another block


def test_nothing_is_replaced_after_a_stop_that_was_swallowed(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.stoppable():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with files.replacing(tmp_path / "a.csv") as ready:
            ready.write_text("new")
    assert list(tmp_path.iterdir()) == []


def test_who_is_deaf_to_a_signal_stays_deaf(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `nohup` and `&` do
    try:
        with files.stoppable():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


# Putting something in its place


def a_folder(path, text):
    path.mkdir()
    (path / "words.txt").write_text(text)


def replace(target, text):
    with files.replacing(target) as ready:
        a_folder(ready, text)


@pytest.fixture
def shop(tmp_path):
    """A folder with "old" in it."""
    a_folder(tmp_path / "shop", "old")
    return tmp_path / "shop"


def test_a_folder_is_replaced_and_nothing_else_is_left(shop):
    replace(shop, "new")
    assert contents(shop.parent) == {"shop/words.txt": b"new"}
    assert [p.name for p in shop.parent.iterdir()] == ["shop"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize("which", [0, 1])
def test_whatever_goes_wrong_at_a_rename_the_old_folder_stays(shop, monkeypatch, which, error):
    rename, calls = Path.rename, []

    def fail(self, to):
        calls.append(self)
        if len(calls) == which + 1:
            raise error
        return rename(self, to)

    a_folder(shop.with_name("ready"), "new")
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(type(error)):
        files.swap(shop.with_name("ready"), shop, shop.with_name("old"))
    assert (shop / "words.txt").read_text() == "old" and len(calls) > which


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("which", [0, 1])
def test_a_signal_between_the_renames_waits_until_both_are_done(shop, monkeypatch, which, number):
    rename, calls = Path.rename, []

    def interrupt(self, to):
        calls.append(self)
        done = rename(self, to)
        if len(calls) == which + 1:
            os.kill(os.getpid(), number)
        return done

    monkeypatch.setattr(Path, "rename", interrupt)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            replace(shop, "new")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert contents(shop.parent) == {"shop/words.txt": b"new"} and len(calls) == 2


def kill_while_replacing(target, after):
    """Have another process replace `target`, and kill itself after so many renames."""
    code = (
        "import os, signal, sys; from pathlib import Path; from sentiment_course import files\n"
        "rename, calls = Path.rename, []\n"
        "def kill(self, to):\n"
        "    rename(self, to); calls.append(self)\n"
        "    if len(calls) == int(sys.argv[2]): os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.rename = kill\n"
        "with files.replacing(Path(sys.argv[1])) as ready:\n"
        "    ready.mkdir(); (ready / 'words.txt').write_text('new')\n"
        "    if sys.argv[2] == '0': os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, target, str(after)])
    assert done.returncode == -signal.SIGKILL


def test_what_a_kill_between_the_renames_took_away_is_put_back(shop):
    kill_while_replacing(shop, after=1)
    assert not shop.exists()
    files.put_back(shop)
    assert contents(shop.parent) == {"shop/words.txt": b"old"}
    assert [p.name for p in shop.parent.iterdir()] == ["shop"]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_what_a_kill_left_is_swept_by_the_next_who_comes(shop, after):
    kill_while_replacing(shop, after)
    assert len(list(shop.parent.iterdir())) > 1
    with pytest.raises(ZeroDivisionError), files.replacing(shop):
        raise ZeroDivisionError
    assert contents(shop.parent) == {"shop/words.txt": b"new" if after == 2 else b"old"}
    assert [p.name for p in shop.parent.iterdir()] == ["shop"]


def test_nothing_is_put_back_or_swept_while_its_owner_is_at_work(shop):
    with files.replacing(shop) as ready:
        a_folder(ready, "new")
        files.put_back(shop)
        assert ready.is_dir()
        with pytest.raises(OSError, match="another process is at work on shop: wait"):
            replace(shop, "other")
        replace(shop.with_name("shop2"), "other")
    assert contents(shop.parent) == {"shop/words.txt": b"new", "shop2/words.txt": b"other"}


def test_a_lock_that_is_given_up_while_another_waits_for_it_is_taken_anew(shop, monkeypatch):
    lock, calls = files._lock, []

    def late(file, path):
        if not calls:
            path.unlink()  # by who held it, just after this process opened it
        calls.append(path)
        lock(file, path)

    monkeypatch.setattr(files, "_lock", late)
    replace(shop, "new")
    assert len(calls) == 2 and contents(shop.parent) == {"shop/words.txt": b"new"}


def test_a_link_stays_a_link(shop):
    link = shop.with_name("link")
    link.symlink_to("shop")
    replace(link, "new")
    assert link.is_symlink() and (shop / "words.txt").read_text() == "new"


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600)])
def test_new_files_get_the_permissions_of_any_new_file(shop, umask, mode):
    before = os.umask(umask)
    try:
        with files.replacing(shop) as ready:
            a_folder(ready, "new")
            (ready / "words.txt").chmod(0o640)
        with files.replacing(shop.with_name("a.csv")) as ready:
            ready.write_text("new")
    finally:
        os.umask(before)
    assert (shop / "words.txt").stat().st_mode & 0o777 == mode
    assert shop.with_name("a.csv").stat().st_mode & 0o777 == mode


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    private = tmp_path / "a.csv"
    private.write_text("old")
    private.chmod(0o600)
    with files.replacing(private) as ready:
        ready.write_text("new")
    assert private.read_text() == "new" and private.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [private]


def test_a_link_in_the_place_of_the_unfinished_is_not_followed(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for name in (".saving-a.csv", ".saving-a.csv.lock"):
        (tmp_path / name).symlink_to(mine)
        with pytest.raises(OSError), files.replacing(tmp_path / "a.csv") as ready:
            ready.write_text("new")
        assert mine.read_text() == "mine" and not (tmp_path / "a.csv").exists()
        (tmp_path / name).unlink(missing_ok=True)


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file" / "shop", tmp_path / ("x" * 250)):
        with pytest.raises(OSError), files.replacing(place):
            pytest.fail("the work began")


# A file that the user names


def test_a_file_that_is_there_is_replaced_only_for_who_says_so(tmp_path):
    path = tmp_path / "t.csv"
    put_file(path, lambda ready: ready.write_text("mine"))
    with pytest.raises(ValueError, match="t.csv exists: add --force to replace it"):
        put_file(path, lambda ready: pytest.fail("the work began"))
    assert path.read_text() == "mine"
    put_file(path, lambda ready: ready.write_text("new"), force=True)
    assert contents(tmp_path) == {"t.csv": b"new"}


def test_a_failure_leaves_what_was_there(tmp_path):
    def fail(path):
        path.write_text("half")
        raise KeyboardInterrupt

    (tmp_path / "t.csv").write_text("mine")
    with pytest.raises(KeyboardInterrupt):
        put_file(tmp_path / "t.csv", fail, force=True)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"t.csv": "mine"}


def test_an_error_names_the_file_that_was_wanted(tmp_path):
    def fail(path):
        raise OSError(28, "No space left on device", str(path))

    with pytest.raises(OSError, match=f"{re.escape(str(tmp_path / 't.csv'))}'$"):
        put_file(tmp_path / "t.csv", fail)


# From bytes to text


def test_an_excerpt_is_in_quotes_and_no_longer_than_asked():
    assert excerpt("a\n") == r"'a\n'" and excerpt("a" * 60) == repr("a" * 60)
    assert excerpt("a" * 61) == repr("a" * 59 + "…") and excerpt("good", 3) == "'go…'"


def test_a_link_to_itself_is_refused_in_a_sentence(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(ValueError, match="loop is a link to itself"), files.replacing(loop):
        pass
    with pytest.raises(ValueError, match="loop is a link to itself"):
        files.put_back(loop)
    assert loop.is_symlink()
