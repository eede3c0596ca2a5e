"""Take the picture of TensorBoard that the appendix on tools shows.

    python tools/picture_tensorboard.py LOGDIR [images/tensorboard.png]

LOGDIR is the folder `runs` that the appendix makes. TensorBoard listens on this machine alone, and
a Chromium without a window, which must be installed, looks at it.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import sync_playwright

from sentiment_course.doctor import quiet

with quiet():  # it loads TensorFlow where there is one
    from tensorboard import program

ROOT = Path(__file__).resolve().parent.parent
CURVES = ("step/loss", "epoch/validation_loss")
SIZE = {"width": 1000, "height": 508}  # the pinned curves, and no more
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def start(logs):
    """Start TensorBoard on the folder `logs`, until this program ends; gives its address."""
    board = program.TensorBoard()
    board.configure(logdir=str(logs), host="127.0.0.1", port=0, load_fast="false")
    with quiet():
        return board.launch()


def take(address, path):
    """Write the picture of the TensorBoard at `address` to the file `path`."""
    pins = json.dumps([{"plugin": "scalars", "tag": tag} for tag in CURVES])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
        page.set_default_timeout(120_000)
        page.goto(f"{address}?smoothing=0&pinnedCards={quote(pins)}#timeseries")
        page.locator("line-chart svg").nth(len(CURVES) - 1).wait_for()
        page.get_by_text("Enable step selection").click()  # off: its table holds times
        page.get_by_label("Close side pane").click()
        page.wait_for_timeout(5000)  # until the curves fill the room
        page.screenshot(path=path)
        browser.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", type=Path, metavar="LOGDIR")
    parser.add_argument("picture", type=Path, nargs="?", default=ROOT / "images/tensorboard.png")
    args = parser.parse_args()
    if not any(args.logs.rglob("events.out.tfevents.*")):
        sys.exit(f"picture_tensorboard: there are no curves in {args.logs}")
    take(start(args.logs), args.picture)
    print(f"{args.picture}: {args.picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
