"""Bring what moves in a page: two sliders, and the box in which a reader types a review.

The box needs trained models. The classifier by words is made here in some seconds; the encoder only
where `make course` has trained the general classifier. npm brings ONNX Runtime for browsers.
"""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

from npm_packages import ONNX_RUNTIME, npm_package

PARTS = Path(__file__).resolve().parent / "site" / "live"
# An empty element of this class is filled by this script; without scripts it stays empty.
PROGRAMS = {"review": "box.js", "descent": "descent.js", "temperature": "temperature.js"}
SCRIPT = '<script type="module" src="site_libs/live/{}"></script>'
MADE_FROM = ("live", "general", "baselines", "pieces", "runtime", "reviews")
RUNTIME = {"runtime": "ort.wasm.bundle.min.mjs", "wasm": "ort-wasm-simd-threaded.wasm"}
ENCODER = {"scorer": "scorer.onnx", "pieces": "pieces.json"}


def bring_live(site, root):
    """Give each page the scripts of what moves in it, and the box its files."""
    used = set()
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        found = [kind for kind in PROGRAMS if f'class="live-{kind}"' in text]
        if found:
            scripts = "".join(SCRIPT.format(PROGRAMS[kind]) for kind in found)
            page.write_text(text.replace("</head>", f"{scripts}</head>", 1), encoding="utf-8")
        used |= {*found}
    if used:
        shutil.copytree(PARTS, site / "site_libs" / "live")
    if "review" in used:
        bring_models(site, root)


def bring_models(site, root):
    """Put the box's models into the site."""
    made, live = made_files(root), site / "live"
    live.mkdir()
    shutil.copy(made / "words.json", live)
    told = {}
    if all((made / name).is_file() for name in ENCODER.values()):
        told = {key: (made / name).read_bytes() for key, name in ENCODER.items()} | runtime_files()
        told = {key: put(live, key, data) for key, data in told.items()}
    (live / "files.json").write_text(json.dumps(told), encoding="utf-8")


def put(live, key, data):
    """Write a file under a name of its own content: no browser takes a kept older one for it."""
    name = f"{key}-{hashlib.sha256(data).hexdigest()[:12]}"
    (live / name).write_bytes(data)
    return {"url": f"live/{name}", "bytes": len(data)}


def runtime_files():
    """ONNX Runtime for browsers."""
    with tarfile.open(npm_package(ONNX_RUNTIME)) as package:
        files = {
            key: package.extractfile(f"package/dist/{name}").read() for key, name in RUNTIME.items()
        }
    # The one address of another host in it, in what it says to whoever asks for threads.
    files["runtime"] = files["runtime"].replace(b"https://", b"")
    return files


def made_files(root):
    """The folder of the models' files, made again where code or trained model is another."""
    from sentiment_course.live import live_files

    model, folder = root / "models" / "reviews", root / "_proc" / ".live"
    sources = [root / "sentiment_course" / f"{name}.py" for name in MADE_FROM]
    read = [path.read_bytes() for path in (*sources, model / "classifier.json") if path.is_file()]
    stamp, wanted = folder / ".stamp", hashlib.sha256(b"".join(read)).hexdigest()
    if not stamp.is_file() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, data in live_files(model).items():
            (folder / name).write_bytes(data)
        stamp.write_text(wanted)
    return folder
