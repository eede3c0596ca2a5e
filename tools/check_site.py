"""Find what is wrong with a built site: broken links, missing images, anything from elsewhere.

python tools/check_site.py [_docs]
"""

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# The attributes by which an element loads a file as the page opens.
LOADS = {
    "audio": ("src",), "embed": ("src",), "iframe": ("src",), "image": ("href", "xlink:href"),
    "img": ("src", "srcset"), "input": ("src",), "object": ("data",), "script": ("src",),
    "source": ("src", "srcset"), "track": ("src",), "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}  # fmt: skip
LINK_LOADS = {
    "stylesheet",
    "icon",
    "preload",
    "modulepreload",
    "prefetch",
    "preconnect",
    "manifest",
}
VOID = {
    "br",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "track",
    "wbr",
    "col",
    "embed",
    "area",
}
# Text in these is not prose.
VERBATIM = {"code", "pre", "script", "style", "math", "svg", "textarea", "title"}

CSS_LOAD = re.compile(r"url\(\s*['\"]?([^'\")]+)['\"]?\s*\)|@import\s+['\"]([^'\"]+)['\"]")
SCRIPT_LOAD = re.compile(r"(?:https?:)?//[\w-]+(?:\.[\w-]+)+[^\s'\"]*")
RAW_TEX = re.compile(r"\\(?:begin|frac|sum|text|math\w+|left|nabla|partial|sigma|theta)\b|\$\$")


class SiteError(Exception):
    """A build that cannot go on, with one line that says why."""


@dataclass(frozen=True)
class Problem:
    """One defect: the page it is on, and what it is."""

    page: str
    what: str


@dataclass
class Page(HTMLParser):
    """What one page holds: its anchors, its links, what it loads, its prose."""

    text: str
    ids: set = field(default_factory=set)
    doubles: list = field(default_factory=list)  # ids that two elements have
    links: list = field(default_factory=list)
    loads: list = field(default_factory=list)
    scripts: list = field(default_factory=list)
    titles: dict = field(default_factory=lambda: {"title": "", "h1": ""})
    undescribed: int = 0  # images without alternative text
    prose: str = ""

    def __post_init__(self):
        super().__init__()
        self.open = []
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        self.doubles += {attrs["id"]} & self.ids if attrs.get("id") else ()
        self.ids.update(attrs[name] for name in ("id", "name") if attrs.get(name))
        if tag in ("a", "area") and "href" in attrs:
            self.links.append(attrs["href"])
        if tag == "link" and LINK_LOADS & set(attrs.get("rel", "").split()):
            self.loads.append(attrs.get("href", ""))
        self.undescribed += tag == "img" and "alt" not in attrs
        for name in LOADS.get(tag, ()):
            self.loads += addresses(attrs.get(name, ""), name)
        self.loads += css_loads(attrs.get("style", ""))

    def handle_endtag(self, tag):
        if tag in self.open:  # an end tag closes what was left open inside
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        if inside == "style":
            self.loads += css_loads(data)
        if inside == "script":
            self.scripts.append(data)
        for tag in self.titles:
            if tag in self.open:
                self.titles[tag] += data.strip()
        if not VERBATIM & set(self.open):
            self.prose += data


def addresses(value, name):
    """The addresses in one attribute; a `srcset` holds several."""
    if name == "srcset":
        return [part.split()[0] for part in value.split(",") if part.strip()]
    return [value] if value else []


def css_loads(css):
    """The addresses that a piece of CSS loads."""
    return [a or b for a, b in CSS_LOAD.findall(css)]


def is_elsewhere(address):
    """Whether an address is on another site."""
    parts = urlsplit(address)
    return parts.scheme in ("http", "https", "ftp", "ws", "wss") or bool(parts.netloc)


def file_of(site, page, path):
    """The file of the site that `path`, as written on `page`, leads to."""
    base = site if path.startswith("/") else page.parent
    target = (base / unquote(path).lstrip("/")).resolve() if path else page.resolve()
    return target / "index.html" if target.is_dir() else target


def load_problems(site, file, loads):
    """What is wrong with the files that `file`, a page or a style, loads."""
    for address in loads:
        if address.startswith(("data:", "#")):
            continue
        if is_elsewhere(address):
            yield f"loads {address} from another site"
        elif not file_of(site, file, urlsplit(address).path).is_file():
            yield f"loads {address}, which is not there"


def link_problem(site, file, link, ids, address):
    """What is wrong with one link: nothing, or that file or anchor is not there."""
    if address and link.startswith(address):
        link = link.removeprefix(address) or "/"
    elif is_elsewhere(link) or re.match(r"(?:mailto|javascript|data):", link):
        return None
    parts = urlsplit(link)
    target = file_of(site, file, parts.path)
    if not target.is_file():
        return f"link to {link}: no such page"
    anchor = unquote(parts.fragment)
    if anchor and target in ids and anchor not in ids[target]:
        return f"link to {link}: no such anchor"
    return None


def source_problem(link, root, source):
    """What is wrong with a link into the repository: that the file is not there."""
    if root is None or not source or not link.startswith(source):
        return None
    path = unquote(urlsplit(link.removeprefix(source)).path)
    return None if (root / path).exists() else f"link to {path} in the repository: no such file"


def page_problems(site, file, page, ids, root, address, source):
    """Everything that is wrong with one page, in words."""
    if not page.titles["title"] or not page.titles["h1"]:
        yield "has no title"
    for link in page.links:
        yield link_problem(site, file, link, ids, address)
        yield source_problem(link, root, source)
    yield from load_problems(site, file, page.loads)
    for found in SCRIPT_LOAD.findall("\n".join(page.scripts)):
        yield f"a script speaks of {found}, another site"
    for double in page.doubles:
        yield f"two elements have the id {double}"
    if page.undescribed:
        yield f"{page.undescribed} images without alternative text"
    for found in sorted(set(RAW_TEX.findall(page.prose))):
        yield f"{found} stands outside a formula"


def problems_of(site, root=None, address="", source=""):
    """Every problem of the site in the folder `site`.

    `address` is where the site will stand, so links to it are held to the files here; `source` is
    where the repository shows its files, so links to it are held to the files under `root`.
    """
    pages = {f.resolve(): Page(f.read_text(encoding="utf-8")) for f in sorted(site.rglob("*.html"))}
    ids = {file: page.ids for file, page in pages.items()}
    site = site.resolve()
    found = [
        Problem(str(file.relative_to(site)), what)
        for file, page in pages.items()
        for what in page_problems(site, file, page, ids, root, address, source)
        if what
    ]
    for file in sorted(site.rglob("*.css")):
        loads = css_loads(file.read_text(encoding="utf-8"))
        name = str(file.relative_to(site))
        found += [Problem(name, what) for what in load_problems(site, file, loads)]
    return list(dict.fromkeys(found))


def main():
    site = Path(sys.argv[1] if len(sys.argv) > 1 else "_docs")
    problems = problems_of(site)
    for problem in problems:
        print(f"{problem.page}: {problem.what}")
    sys.exit(f"{len(problems)} problems in {site}" if problems else 0)


if __name__ == "__main__":
    main()
