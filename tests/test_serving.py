"""The server: each gets their own answer, whatever else comes; it starts and stops cleanly."""

import asyncio
import json
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest

from sentiment_course import serving
from sentiment_course.baselines import TfidfClassifier

TEXTS = ["A warm film.", "A cold film.", "Warm and witty.", "Cold and dull."] * 5
LABELS = ["positive", "negative"] * 10


class Lengths:
    """A classifier whose answer to a text is its length; it fails at "fail", and may be slow."""

    classes_ = np.array(["short", "long"])

    def __init__(self, seconds=0.0):
        self.seconds, self.batches, self.gate = seconds, [], threading.Event()
        self.gate.set()

    def predict_proba(self, texts):
        self.gate.wait(20)
        time.sleep(self.seconds)
        self.batches.append(len(texts))
        if "fail" in texts:
            raise RuntimeError("it fails")
        share = np.array([min(len(text), 100) / 100 for text in texts])
        return np.column_stack([1 - share, share])


def ask(address, texts, **more):
    """What the server answers to texts."""
    return httpx.post(f"{address}/predict", json={"texts": texts}, timeout=30, **more)


def finished(work):
    """What a coroutine answers; the main thread may have a loop of Playwright's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def long(answer):
    """How probable "long" is, of each text."""
    return [p["long"] for p in answer.json()["probabilities"]]


@pytest.fixture(scope="module")
def classifier():
    return TfidfClassifier().fit(TEXTS, LABELS)


def test_answers_are_those_of_the_classifier(classifier):
    with serving.running(classifier) as address:
        answer = ask(address, TEXTS[:4]).json()
    p = classifier.predict_proba(TEXTS[:4])
    assert answer["labels"] == classifier.predict(TEXTS[:4]).tolist()
    told = [[row[c] for c in classifier.classes_] for row in answer["probabilities"]]
    assert np.allclose(told, p, atol=1e-4) and answer["unread"] == [0] * 4


def test_two_hundred_at_once_get_their_own_answers():
    with serving.running(classifier := Lengths(0.02)) as address:

        async def everybody():
            limits = httpx.Limits(max_connections=200)
            async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60) as client:
                asked = [{"texts": ["a" * (i % 100), "b" * 7]} for i in range(600)]
                return await asyncio.gather(*(client.post("/predict", json=a) for a in asked))

        answers = finished(everybody())
    assert {a.status_code for a in answers} == {200}
    assert [long(a) for a in answers] == [[i % 100 / 100, 0.07] for i in range(600)]
    assert sum(classifier.batches) == 1200 and max(classifier.batches) <= serving.TOGETHER
    assert len(classifier.batches) < 300  # many were scored together


def test_who_gives_up_does_not_shift_the_answers_of_others():
    with serving.running(classifier := Lengths()) as address:
        classifier.gate.clear()
        threads = [threading.Thread(target=ask, args=(address, ["first"]))]
        threads[0].start()
        time.sleep(0.3)  # it is being scored, and holds the others up
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/predict", json={"texts": ["x" * 50] * 3}, timeout=0.3)
        found = {}
        for size in (1, 9):
            one = threading.Thread(
                target=lambda n: found.update({n: long(ask(address, ["y" * n] * n))}), args=(size,)
            )
            threads.append(one)
            one.start()
        time.sleep(0.3)
        classifier.gate.set()
        for thread in threads:
            thread.join()
    assert found == {1: [0.01], 9: [0.09] * 9}


def test_rows_are_cut_off_for_whoever_is_gone():
    async def three():
        batcher = serving.Batcher(lambda texts: np.arange(len(texts)))
        answers = [asyncio.get_running_loop().create_future() for _ in range(3)]
        answers[1].cancel()
        await batcher.answer([(["a"] * n, answer) for n, answer in enumerate(answers, 1)])
        return answers[0].result().tolist(), answers[2].result().tolist()

    assert finished(three()) == ([0], [3, 4, 5])


def test_more_than_can_wait_is_turned_away_and_asked_to_come_again(monkeypatch):
    monkeypatch.setattr(serving, "WAITING", 10)
    with serving.running(classifier := Lengths()) as address:
        classifier.gate.clear()
        waiting = [threading.Thread(target=ask, args=(address, ["a"] * 8)) for _ in range(2)]
        for thread in waiting:
            thread.start()
            time.sleep(0.3)
        refused = ask(address, ["b"] * 8)
        assert httpx.get(f"{address}/health").json()["status"] == "ok"
        classifier.gate.set()
        for thread in waiting:
            thread.join()
        assert ask(address, ["b"] * 8).status_code == 200
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
    assert "try again" in refused.json()["error"]


def test_a_request_that_waits_too_long_is_told_so(monkeypatch):
    monkeypatch.setattr(serving, "PATIENCE", 0.2)
    with serving.running(classifier := Lengths()) as address:
        classifier.gate.clear()
        assert ask(address, ["a"]).status_code == 503
        classifier.gate.set()
        monkeypatch.setattr(serving, "PATIENCE", 20)
        assert ask(address, ["a"]).status_code == 200


def test_an_error_of_the_classifier_is_told_and_the_next_is_answered():
    with serving.running(Lengths()) as address:
        failed = ask(address, ["fail"])
        assert failed.status_code == 500 and "classifier failed" in failed.json()["error"]
        assert ask(address, ["a"]).status_code == 200


def test_a_text_that_the_classifier_cannot_bear_harms_no_other():
    with serving.running(classifier := Lengths()) as address:
        classifier.gate.clear()
        found, asking = {}, []
        for text in ("first", "good", "fail", "better"):
            one = threading.Thread(
                target=lambda t: found.update({t: ask(address, [t]).status_code}), args=(text,)
            )
            asking.append(one)
            one.start()
            time.sleep(0.2)
        classifier.gate.set()
        for one in asking:
            one.join()
    assert found == {"first": 200, "good": 200, "fail": 500, "better": 200}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "no JSON"),
        (b"good", 400, "no JSON"),
        (b"\xff\xfe", 400, "no JSON"),
        (b"[" * 100_000, 400, "no JSON"),
        (b"[]", 422, "texts"),
        (b"{}", 422, "texts"),
        (b'{"texts": "good"}', 422, "texts"),
        (b'{"texts": []}', 422, "text at least"),
        (b'{"texts": [null]}', 422, "texts[0]"),
        (b'{"texts": ["a", 1.5]}', 422, "texts[1]"),
        (json.dumps({"texts": [[1] * 99_000]}).encode(), 422, "texts[0]"),
        (b'{"texts": ["\\ud800"]}', 422, "half a character"),
        (json.dumps({"texts": ["a"] * 1001}).encode(), 422, "1,000 at most"),
        (json.dumps({"texts": ["a" * 1_000_000]}).encode(), 413, "1,000,000 bytes"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(address, body, status, says):
    answer = httpx.post(f"{address}/predict", content=body)
    assert answer.status_code == status and says in answer.json()["error"]
    assert len(answer.text) < 300


@pytest.fixture(scope="module")
def address():
    """The address of a server."""
    with serving.running(Lengths()) as address:
        yield address


def test_a_body_that_never_ends_is_read_no_further_than_the_limit(address):
    def endless():
        while True:
            sent.append(1)
            yield b"a" * 100_000

    sent = []
    try:
        status = httpx.post(f"{address}/predict", content=endless(), timeout=10).status_code
    except httpx.WriteError:  # it has hung up
        status = 413
    assert status == 413 and len(sent) < 1000


def test_a_body_that_comes_too_slowly_is_given_up(address, monkeypatch):
    monkeypatch.setattr(serving, "SLOWEST", 0.3)
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")
        assert line.recv(1000).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/predict", 405), ("DELETE", "/health", 405)],
)
def test_another_address_or_method_is_refused_in_a_sentence(address, method, path, status):
    answer = httpx.request(method, f"{address}{path}")
    assert answer.status_code == status and "openapi.json" in answer.json()["error"]


def test_a_page_from_elsewhere_cannot_lead_its_own_name_here(address):
    assert httpx.get(f"{address}/health", headers={"Host": "evil.example"}).status_code == 400
    for origin in ("https://evil.example", "null"):
        assert ask(address, ["a"], headers={"Origin": origin}).status_code == 403
    assert ask(address, ["a"], headers={"Origin": address}).status_code == 200


def test_what_is_counted_is_what_happened(classifier):
    with serving.running(classifier) as address:
        ask(address, ["a", "b"])
        ask(address, [])
        told = httpx.get(f"{address}/metrics").text
    for line in ('requests_total{status="200"} 1.0', 'requests_total{status="422"} 1.0',
                 "texts_total 2.0", "waiting_texts 0.0", "batch_texts_count 1.0"):  # fmt: skip
        assert line in told.splitlines()


def test_what_it_says_of_itself_is_what_it_does(address):
    told = httpx.get(f"{address}/openapi.json").json()
    assert told["openapi"] == "3.1.0" and set(told["paths"]) == {"/predict", "/health", "/metrics"}
    answer = ask(address, ["a", "b"]).json()
    post = told["paths"]["/predict"]["post"]
    schema = post["responses"]["200"]["content"]["application/json"]["schema"]
    assert set(answer) == set(schema["required"]) == set(schema["properties"])
    assert set(answer["labels"]) <= set(schema["properties"]["labels"]["items"]["enum"])
    for body in (b"", b"{}", b"a" * 1_000_001):
        assert str(httpx.post(f"{address}/predict", content=body).status_code) in post["responses"]


def test_the_page_asks_and_shows_what_was_typed_as_text(browser, classifier):
    with serving.running(classifier) as address:
        page, wrong = browser.new_page(), []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"{address}/")
        page.locator("textarea").fill("Warm and witty.\n<img src=x onerror=alert(1)>")
        page.get_by_role("button").click()
        page.locator("#answers tr").nth(1).wait_for()
        rows = page.locator("#answers tr").all_inner_texts()
        assert rows[0].startswith("Warm and witty.\tpositive\t") and "<img" in rows[1]
        assert page.locator("#answers img").count() == 0 and wrong == []
        assert "POST /predict" in page.locator("#paths").inner_text()
        page.close()


@pytest.fixture(scope="module")
def saved(classifier, tmp_path_factory):
    """The folder of a saved classifier."""
    folder = tmp_path_factory.mktemp("models") / "mine"
    classifier.save(folder)
    return folder


@pytest.fixture
def command(saved):
    """`sentiment-course serve`, running; and its address."""
    arguments = [sys.executable, "-c", "from sentiment_course.cli import main; main()", "serve"]
    with subprocess.Popen([*arguments, "--model", saved, "--port", "0"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # fmt: skip
        line = process.stdout.readline()
        yield process, re.search(r"http://[\d.:]+", line)[0]
        process.kill()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_stopped(command, how):
    process, address = command
    assert address.startswith("http://127.0.0.1:")
    assert ask(address, ["Warm."]).json()["model"] == "mine"
    process.send_signal(how)
    assert process.wait(20) == 0 and process.stderr.read() == ""


def random_request(rng):
    """Bytes that are nearly a request."""
    body = rng.choice([
        b'{"texts": ["a"]}', b'{"texts": ["a"', b"", rng.randbytes(rng.randrange(300)),
        b'{"texts": [' + b'"a",' * rng.randrange(5000) + b'"b"]}',
        json.dumps({"texts": rng.choice([[1], [None], {}, "x", [["a"]], 1e400])}).encode(),
    ])  # fmt: skip
    size = rng.choice([len(body), len(body) // 2, len(body) + 9, -1, 10**18, "x"])
    method = rng.choice([b"POST", b"GET", b"PUT", b"\x00", b"POST" * 50])
    path = rng.choice([b"/predict", b"/health", b"/%00", b"/../../etc/passwd", b"/" + b"a" * 9000])
    more = b"X: " + rng.randbytes(rng.randrange(40)) + b"\r\n" if rng.random() < 0.3 else b""
    head = b"%s %s HTTP/1.1\r\nHost: localhost\r\n" % (method, path)
    data = head + more + f"Content-Length: {size}\r\n\r\n".encode() + body
    return data[: rng.randrange(len(data))] if rng.random() < 0.2 else data


def test_a_thousand_malformed_requests_leave_it_well(command):
    process, address = command
    rng, port = random.Random(0), int(address.rsplit(":", 1)[1])
    before = psutil.Process(process.pid).memory_info().rss
    for _ in range(1000):
        with socket.create_connection(("127.0.0.1", port), timeout=15) as line:
            try:
                line.sendall(random_request(rng))
                line.shutdown(socket.SHUT_WR)
                answer = line.recv(100)
            except OSError:  # it has hung up
                continue
        assert not re.match(rb"HTTP/1.1 5", answer), answer
    assert ask(address, ["Warm."]).json()["labels"] == ["positive"]
    assert psutil.Process(process.pid).memory_info().rss - before < 50_000_000
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0 and process.stderr.read() == ""


def test_who_has_asked_is_answered_before_it_stops():
    server = serving.served(serving.application(classifier := Lengths(1.0)))
    with serving.listening("127.0.0.1", 0) as door:
        work = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        work.start()
        while not server.started:
            time.sleep(0.01)
        found, address = [], f"http://127.0.0.1:{door.getsockname()[1]}"
        asking = threading.Thread(target=lambda: found.append(ask(address, ["a"]).status_code))
        asking.start()
        time.sleep(0.3)
        server.should_exit = True
        asking.join()
        work.join(20)
    assert found == [200] and classifier.batches == [1]


def test_a_port_that_is_taken_is_named(saved, capsys):
    from sentiment_course.cli import main

    with serving.listening("127.0.0.1", 0) as door, pytest.raises(SystemExit) as stopped:
        main(["serve", "--model", str(saved), "--port", str(door.getsockname()[1])])
    said = capsys.readouterr().err.strip()
    assert stopped.value.code == 1 and "choose another with --port" in said
    assert len(said.splitlines()) == 1


def test_what_is_missing_is_named(saved, capsys, monkeypatch):
    import sentiment_course
    from sentiment_course.cli import main

    monkeypatch.delattr(sentiment_course, "serving")
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    monkeypatch.delitem(sys.modules, "sentiment_course.serving")
    with pytest.raises(SystemExit):
        main(["serve", "--model", str(saved)])
    assert "pip install starlette uvicorn" in capsys.readouterr().err
