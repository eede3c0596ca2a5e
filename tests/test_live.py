"""The box in which a reader types a review: in a real browser, it answers as Python does."""

import contextlib
import json
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from sklearn.linear_model import LogisticRegression

from sentiment_course import general, live
from sentiment_course.languages import load_sentences, unpacked
from sentiment_course.runtime import OnnxClassifier, as_onnx, for_scoring, with_words_of

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import site_live  # noqa: E402
from serve_site import server  # noqa: E402

PAGE = (
    "<!doctype html><html lang=en><head><title>box</title></head>"
    '<body><div class="live-review"></div></body></html>'
)
ODD = [
    "", " ", "!!!", "it's IT’S its'", "naïve café ｃａｆｅ", "İstanbul", "5星 好评！！", "ß ẞ",
    "👍👍 very good", "<s> </s> <unk>", "①②㎏ ﬁne", "a  b\t\n c", "한국어 좋아요", "よかった。",
    "e\u0301 é", "\u200bzero\ufeffwidth", "don't", "１２３ＡＢＣ", "a" * 300, "▁ under ▁ score",
    "ﷺ", "…wait...",
]  # fmt: skip


@pytest.fixture(scope="session")
def texts():
    """Held-out texts, of every source and twenty languages, some of them odd."""
    held_out = [t for source in general.ALL for t in general.parts(source)[1].text[:60]]
    return [*held_out, *load_sentences().text, *ODD]


@pytest.fixture(scope="session")
def by_words():
    """A classifier by words."""
    learned = general.to_learn(general.ALL)
    return live.words_classifier(learned.text.tolist(), learned.label.tolist(), 3_000)


@pytest.fixture(scope="session")
def scorer(texts):
    """The multilingual encoder with a head, in 8 bits, cut to what some texts need."""
    learn = general.to_learn(["amazon"]).groupby("label").head(150)
    files = {path.name: path.read_bytes() for path in unpacked().iterdir()}
    files = with_words_of(files, [*texts, *learn.text])
    # With the identity for a head, what softmax answers tells the vectors, but for a constant.
    head = {"kernel": np.eye(384, dtype="f4"), "bias": np.zeros(384, "f4")}
    plain = as_onnx(files | {"head.safetensors": save(head)}, list(range(384)), 64)
    vectors = np.log(OnnxClassifier(plain).predict_proba(learn.text.tolist()))
    fitted = LogisticRegression(C=0.3, max_iter=1000).fit(vectors, learn.label)
    weight = np.array([-fitted.coef_[0], fitted.coef_[0]]) / 2
    kernel = np.ascontiguousarray((weight - weight.mean(1, keepdims=True)).T, "f4")
    head = {"kernel": kernel, "bias": np.zeros(2, "f4")}
    files |= {"head.safetensors": save(head)}
    whole = for_scoring(files, ["negative", "positive"], 64, texts)
    return OnnxClassifier(live.cut_scorer(whole, texts[:400]))


def built(folder, files):
    """A site of one page in `folder`, with the box and its files: name -> bytes."""
    made, site = folder / "made", folder / "site"
    made.mkdir()
    (site / "site_libs").mkdir(parents=True)
    (site / "index.html").write_text(PAGE)
    for name, data in files.items():
        (made / name).write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site_live, "made_files", lambda root: made)
        site_live.bring_live(site, ROOT)
    return site


@contextlib.contextmanager
def served(site):
    """A server of a site."""
    with server(site, port=0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving
        serving.shutdown()


@pytest.fixture(scope="session")
def site(tmp_path_factory, by_words, scorer):
    """A site of one page, with the box and both models."""
    pieces = live.pieces_file(scorer.data)
    files = {"words.json": live.words_file(by_words), "scorer.onnx": scorer.data}
    return built(tmp_path_factory.mktemp("site"), files | {"pieces.json": pieces})


@pytest.fixture
def running(site):
    """A server of that site, which a test may stop."""
    with served(site) as serving:
        yield serving


@pytest.fixture
def page(browser, running):
    """The page, opened in a new profile; at the end, nothing may have gone wrong in it."""
    context, wrong = browser.new_context(), []
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"http://127.0.0.1:{running.server_port}/index.html")
    page.wait_for_selector(".live-text mark")
    yield page
    context.close()
    assert wrong == []


ENCODED = ".live-answer:nth-child(3) mark"  # a word that the encoder's answer colours


def in_page(page, program, given=None):
    """What a program with our modules answers in the page."""
    opening = "const {Words} = await import('/site_libs/live/words.js');"
    opening += "const {Pieces} = await import('/site_libs/live/pieces.js');"
    opening += "const {Encoder} = await import('/site_libs/live/encoder.js');"
    opening += "const json = async (url) => (await fetch(url)).json();"
    return page.evaluate(f"async (given) => {{ {opening} {program} }}", given)


BY_WORDS = """
const words = new Words(await json('live/words.json'));
return given.map((text) => words.read(text));
"""


def test_words_answer_in_the_page_as_in_python(page, by_words, texts):
    said = in_page(page, BY_WORDS, texts)
    wanted = by_words.predict_proba(texts)[:, 1]
    assert np.allclose([s["positive"] for s in said], wanted, atol=0.01)
    assert len({*np.round(wanted, 2)}) > 50
    known = by_words.vectorizer_.transform(texts).getnnz(axis=1) > 0
    assert [s["known"] for s in said] == known.tolist() and not known.all()


def test_what_the_words_add_is_what_moved_the_answer(page, by_words, texts):
    for s in in_page(page, BY_WORDS, texts):
        effects = sum(part["effect"] for part in s["parts"])
        logit = np.log(s["positive"] / (1 - s["positive"]))
        assert effects + by_words.model_.intercept_[0] == pytest.approx(logit, abs=1e-6)
        places = [(part["start"], part["end"]) for part in s["parts"]]
        assert all(a < b for a, b in places) and sorted(places) == places
        units = s["shown"].encode("utf-16-le")  # in which JavaScript counts
        read = b"".join(units[2 * a : 2 * b] for a, b in places).decode("utf-16-le")
        assert read == "".join(s["shown"].split())


def test_texts_are_cut_in_the_page_as_by_the_tokenizers_library(page, scorer, texts):
    program = f"const pieces = new Pieces(await json('{url(page, 'pieces')}'));"
    program += "return given.map((text) => pieces.tokens(text));"
    many = [*texts, *general.parts("chinese")[1].text[:1000], *general.parts("nyt")[1].text[:200]]
    cut = in_page(page, program, many)
    assert cut == [ids.tolist() for ids in scorer.tokenize(many)]
    assert max(map(len, cut)) == scorer.max_length  # some are too long, and keep both ends


def url(page, name):
    """The address of a file of the encoder."""
    return page.evaluate("async () => (await fetch('live/files.json')).json()")[name]["url"]


def test_the_encoder_answers_in_the_page_as_in_python(page, scorer, texts):
    program = "const encoder = await Encoder.load(await json('live/files.json'), () => {});"
    said = in_page(page, program + "return await encoder.positive(given);", texts[::2])
    off = np.abs(said - scorer.predict_proba(texts[::2])[:, 1])
    # In 8 bits, the last bit of a sum decides now and then by which whole number it goes on.
    assert scorer.bits == 8 and len(off) >= 200
    assert off.mean() < 0.003 and (off < 0.01).mean() > 0.95 and off.max() < 0.05


def test_a_cut_scorer_answers_as_the_whole_one_what_it_can_read(scorer, texts):
    few = [*texts[:40], *texts[300:340]]
    cut = OnnxClassifier(live.cut_scorer(scorer.data, few))
    assert len(cut.data) < len(scorer.data)
    assert np.allclose(cut.predict_proba(few), scorer.predict_proba(few), atol=1e-6)


def large(asked):
    """The addresses among those asked for that are the encoder's files."""
    return [address for address in asked if re.search(r"^http.*/live/\w+-\w+$", address)]


def ask(page, text):
    """Type a text, and wait for both answers with their words."""
    page.locator("textarea").fill(text)
    answers = ".live-answer:not([hidden]) .live-text"
    page.wait_for_function(
        f"(text) => [...document.querySelectorAll('{answers}')].every((e) =>"
        " e.textContent === text && e.querySelector('mark'))",
        arg=text,
    )
    return page.locator(".live-answer strong").all_inner_texts()


def test_the_encoder_comes_on_a_click_and_stays_when_the_network_is_cut(page, running, scorer):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    assert page.locator(".live-answer:visible").count() == 1
    button = page.get_by_role("button")
    assert "MB, fetched once" in button.inner_text()
    button.click()
    page.wait_for_selector(ENCODED)
    assert len(large(asked)) == 4
    mine, count = f"http://127.0.0.1:{running.server_port}/", len(asked)
    assert all(address.startswith((mine, f"blob:{mine}")) for address in asked)
    running.shutdown()
    running.server_close()
    for text in ("房间干净，但是早餐很差。", "The room was clean, the breakfast poor."):
        said = ask(page, text)
        positive = scorer.predict_proba([text])[0, 1]
        assert said[1].startswith("positive" if positive > 0.5 else "negative")
    assert len(asked) == count  # nothing of what is typed is asked about elsewhere


def test_the_next_visit_fetches_no_large_file_again(page):
    page.get_by_role("button").click()
    page.wait_for_selector(ENCODED)
    page.reload()
    page.wait_for_selector(".live-text mark")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button").click()
    page.wait_for_selector(ENCODED)
    assert large(asked) == []


def test_what_is_typed_is_shown_and_never_run(page):
    ask(page, "<img src=x onerror=document.title='run'> good, bad")
    assert page.title() == "box" and page.locator(".live-review img").count() == 0


def test_of_a_long_text_it_says_which_words_are_coloured(page):
    page.get_by_role("button").click()
    page.wait_for_selector(ENCODED)
    page.locator("textarea").fill("good and bad " * 30)
    page.locator("small", has_text="the first 60 are coloured").wait_for()


def test_the_box_says_what_it_does_not_know(page):
    page.locator("textarea").fill("qwzx")
    said = page.locator(".live-answer strong").first
    page.wait_for_function(
        "(e) => /none of these words/.test(e.textContent)", arg=said.element_handle()
    )
    page.locator("textarea").fill(" ")
    page.wait_for_function("(e) => /nothing typed/.test(e.textContent)", arg=said.element_handle())


@pytest.mark.parametrize(
    ("file", "fails"),
    [
        ("scorer", lambda route: route.abort()),
        ("pieces", lambda route: route.fulfill(body="sign in to the hotel")),
    ],
)
def test_what_cannot_be_fetched_or_came_broken_is_named_and_asked_for_again(page, file, fails):
    page.route(f"**/live/{file}-*", fails)
    page.get_by_role("button").click()
    again = page.get_by_role("button", name="cannot be fetched just now: try again")
    again.wait_for()
    page.unroute(f"**/live/{file}-*")
    again.click()
    page.wait_for_selector(ENCODED)


def test_without_a_trained_model_words_alone_answer(tmp_path, by_words, browser):
    site = built(tmp_path, {"words.json": live.words_file(by_words)})
    assert json.loads((site / "live/files.json").read_text()) == {}
    with served(site) as serving:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{serving.server_port}/index.html")
        page.wait_for_selector(".live-text mark")
        assert not page.get_by_role("button").is_visible()
        page.close()


def test_without_scripts_the_box_is_empty(browser, running):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{running.server_port}/index.html")
    assert page.locator(".live-review").inner_html() == ""
    context.close()


def test_its_files_without_a_general_classifier(tmp_path):
    files = live.live_files(tmp_path / "none")
    assert list(files) == ["words.json"] and len(files["words.json"]) < 300_000
    told = json.loads(files["words.json"])
    assert len(told["terms"]) == len(told["idf"]) == len(told["weights"]) == live.TERMS
