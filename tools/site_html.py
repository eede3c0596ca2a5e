"""Finish the pages that smalldocs laid out: one header, contents on phones, addresses, a footer."""

import html
import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

PARTS = Path(__file__).resolve().parent / "site"
SCRIPTS = ("search.js", "course.js")
CARD = "images/card.png"
NEEDLESS = ("bootstrap", "bootstrap-icons", "fuse", "themes/darkly.min.css")
LONG, SYMBOLS = 40, 24  # entries of a list of contents: more is no help to find one's way

# smalldocs loads two themes, icons, Bootstrap's scripts and a search that we do without.
HEAD = [
    (r"<script>\(function\(\)\{var d=document.*?</script>", ""),
    (r'<script src="site_libs/(?:bootstrap|fuse)/[^"]*"></script>', ""),
    (r'<link rel="stylesheet" href="site_libs/bootstrap-icons[^>]*>', ""),
    (r"<link [^>]*quarto-color-alternate[^>]*>", ""),
    (r' media="not all and \(prefers-color-scheme: dark\)"', ""),
]
# What a screen reader can name and tell apart, and keys reach. A corner of a table heads nothing.
BODY = [
    (r'<nav (id="quarto-sidebar")', r'<nav aria-label="Chapters" \1'),
    (r'<nav (class="page-navigation")', r'<nav aria-label="Previous and next" \1'),
    (r'<nav class="quarto-page-breadcrumbs.*?</nav>', ""),
    (
        r'<a class="sidebar-item-text[^>]*role="navigation"[^>]*><span[^>]*>(.*?)</span></a>'
        r'<a class="sidebar-item-toggle.*?</a>',
        r'<span class="sidebar-part">\1</span>',
    ),
    (
        r'<div (id="quarto-margin-sidebar".*?)</div><main',
        r'<aside aria-label="This page" \1</aside><main',
    ),
    (r'<a [^>]*id="quarto-back-to-top">.*?</a>', ""),
    (r'<i class="bi bi-arrow-left-short"></i>', "←"),
    (r'<i class="bi bi-arrow-right-short"></i>', "→"),
    (r'<i class="bi bi-(?:code|chat-right)"></i>\s*', ""),
    (r"<th[^>]*></th>", "<td></td>"),
]
HEADER = re.compile(r'<header id="quarto-header".*?</nav></header>', re.S)
CONTENTS = re.compile(r'<nav id="TOC".*?</nav>', re.S)
ENTRY = r'<li><a href="#{}" [^>]*>(?:(?!</a>).)*</a></li>'
INNER = re.compile(r"(</a>)<ul>(?:<li>(?:(?!<ul>).)*?</li>)*</ul>")
FOLDED = (
    '<details class="page-contents"><summary>On this page</summary>'
    '<nav aria-label="Contents">{}</nav></details>'
)
TERM = re.compile(
    r'<h3 id="([^"]+)"[^>]*>([^<]+)(?=</h3>\s*<p>.*?</p>\s*<p><span lang="zh-Hans"><strong>(.*?)<)'
)
NAMED = re.compile(r'<a href="([\w-]+\.html)#([^"]+)"><code>([^<]*)</code></a>')
BOLD = re.compile(r"<strong>([^<]+)</strong>")
NOT_FOUND = (
    '<main class="content" id="quarto-document-content"><h1 class="title">No such page</h1>'
    "<p>It may have moved: search for it above, or begin at the "
    '<a href="index.html">front page</a>.</p></main>'
)


def replaced(text, table):
    for pattern, replacement in table:
        text = re.sub(pattern, replacement, text, flags=re.S)
    return text


def finish(site, root, settings):
    """Finish every page of `site`, add the page for what is not found, drop what no page needs."""
    header = (PARTS / "header.html").read_text(encoding="utf-8")
    header = header.format(site=html.escape(settings.title), repository=settings.repository)
    footer = footer_of(root, settings)
    for page in sorted(site.glob("*.html")):
        address = f"{settings.address}/{page.name}".removesuffix("index.html")
        text = with_head(page.read_text(encoding="utf-8"), address, settings)
        text = HEADER.sub(lambda _: header, text)
        text = with_contents(replaced(text, BODY)).replace("</body>", f"{footer}</body>")
        page.write_text(text, encoding="utf-8")
    unlink_hidden(site)
    know_terms(site)
    write_not_found(site, settings)
    bring_files(site, root)


def bring_files(site, root):
    """Copy our scripts, notebooks and picture to the site; drop what its pages do not use."""
    libs = site / "site_libs"
    for script in SCRIPTS:
        shutil.copy(PARTS / script, libs)
    for path in (libs / name for name in NEEDLESS):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    (site / "notebooks").mkdir()
    for page in site.glob("*-*.html"):
        shutil.copy(root / "nbs" / f"{page.stem}.ipynb", site / "notebooks")
    if (root / CARD).is_file():
        (site / CARD).parent.mkdir(exist_ok=True)
        shutil.copy(root / CARD, site / CARD)


def with_head(text, address, settings):
    """A page with its address and picture for those who link to it, one theme, and our scripts."""
    scheme = (PARTS / "scheme.js").read_text(encoding="utf-8")
    more = f'<script>{scheme}</script><link rel="canonical" href="{address}">'
    more += "".join(f'<script src="site_libs/{name}" defer></script>' for name in SCRIPTS)
    more += f'<meta property="og:url" content="{address}">'
    more += f'<meta property="og:image" content="{settings.address}/{CARD}">'
    return replaced(text, HEAD).replace("</head>", f"{more}</head>", 1)


def with_contents(text):
    """A page whose contents are not too long, and stand over the text where that is narrow."""
    if not (found := CONTENTS.search(text)):
        return text
    short = shortened(found[0], re.findall(r'<h[23] id="([^"]+)" class="anchored symbol"', text))
    text = text.replace(found[0], short)
    if not (entries := re.search(r"<ul>.*</ul>", short, re.S)):
        return text
    plain = re.sub(r' (?:id|class|data-scroll-target)="[^"]*"', "", entries[0])
    title = text.index("</header>", text.index('id="title-block-header"')) + len("</header>")
    actions = re.compile(r'<p class="page-actions">.*?</p>').match(text, title)
    place = actions.end() if actions else title
    return text[:place] + FOLDED.format(plain) + text[place:]


def shortened(contents, symbols):
    """A list of contents without the names of functions, or without its second level, if long."""
    if contents.count("<li>") > SYMBOLS:
        for symbol in symbols:
            contents = re.sub(ENTRY.format(re.escape(symbol)), "", contents)
        contents = contents.replace("<ul></ul>", "")
    return INNER.sub(r"\1", contents) if contents.count("<li>") > LONG else contents


def unlink_hidden(site):
    """Leave the name of an inner function, which no page documents, without nbdev's link to it."""
    pages = {page.name: page.read_text(encoding="utf-8") for page in site.glob("*.html")}
    anchors = {name: set(re.findall(r' id="([^"]+)"', text)) for name, text in pages.items()}

    def kept(match):
        page, anchor, name = match.groups()
        hidden = name.lower() == anchor and anchor not in anchors.get(page, {anchor})
        return f"<code>{name}</code>" if hidden else match[0]

    for name, text in pages.items():
        (site / name).write_text(NAMED.sub(kept, text), encoding="utf-8")


def know_terms(site):
    """Link the chapters' terms to the glossary; give it, and the search, their Chinese names."""
    glossary, index = site / "b2-glossary.html", site / "search.json"
    if not glossary.is_file():
        return
    text = glossary.read_text(encoding="utf-8")
    found = TERM.findall(text)
    text = TERM.sub(lambda m: f'{m[0]} <span lang="zh-Hans">{m[3]}</span>', text)
    glossary.write_text(text, encoding="utf-8")
    anchors = {html.unescape(term).lower(): anchor for anchor, term, _ in found}
    for page in site.glob("[01]*.html"):
        text = BOLD.sub(partial(link_term, anchors=anchors), page.read_text(encoding="utf-8"))
        page.write_text(text, encoding="utf-8")
    chinese = {f"{glossary.name}#{anchor}": name for anchor, _, name in found}
    entries = json.loads(index.read_text(encoding="utf-8"))
    for entry in entries:
        if entry["href"] in chinese:
            entry["section"] += f" · {chinese[entry['href']]}"
    index.write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")


def link_term(match, anchors):
    """A term in bold, linked to the glossary where it has it."""
    anchor = anchors.get(html.unescape(match[1]).lower())
    link = f'<a class="term" href="b2-glossary.html#{anchor}">{match[1]}</a>'
    return f"<strong>{link}</strong>" if anchor else match[0]


def footer_of(root, settings):
    """The last line of every page: which version of the course this is, and of which day."""
    log = ["git", "-C", str(root), "log", "-1", "--format=%cs"]
    day = subprocess.run(log, capture_output=True, text=True).stdout.strip()
    of = f" of {day}" if day else ""
    return (
        f'<footer class="footer">{html.escape(settings.title)} {settings.version}{of} · '
        f'<a href="{settings.repository}">repository</a> · '
        f'<a href="{settings.source("LICENSE")}">Apache licence 2.0</a></footer>'
    )


def write_not_found(site, settings):
    """Write 404.html, which may be shown at any address, from the front page."""
    folder = re.sub(r"https?://[^/]+", "", settings.address)
    table = [
        (r"<main.*</main>", NOT_FOUND),
        (r"<aside.*?</aside>", ""),
        (r" has-margin", ""),
        (r"<title>.*?</title>", "<title>No such page</title>"),
        (r'<link rel="canonical"[^>]*>|<meta (?:property|name)="(?:og|twitter):[^>]*>', ""),
        (r"<head>", f'<head><base href="{folder}/"><meta name="robots" content="noindex">'),
    ]
    text = replaced((site / "index.html").read_text(encoding="utf-8"), table)
    (site / "404.html").write_text(text, encoding="utf-8")
