"""Promises of teachers: a reply is text, what goes wrong has a name, and no key is shown."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import tiny
import torch

from engram_transformers.errors import (
    ConfigError,
    NoEpisodesError,
    TeacherError,
    TeacherTimeoutError,
)
from engram_transformers.skill.teachers import EndpointTeacher, ModelTeacher
from engram_transformers.skill.writing_episodes import write_episodes

FACT = ("My birth year is", "1993")
MESSAGES = [{"role": "user", "content": "Write something."}]
KEY = "sk-very-secret"
EPISODE = {
    "question": "When was I born?",
    "needed": [FACT[0]],
    "working": "",
    "answer": FACT[1],
}


def said(text):
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


class Endpoint(HTTPServer):
    """Replies as it is told to, and keeps what it was asked.

    Attributes:
        status: Of its replies.
        body: Of its replies.
        headers: More of them.
        delay_seconds: Before each.
        asked: Path, headers and body of each request.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body, self.headers, self.delay_seconds = 200, said("Hello."), {}, 0.0
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def teacher(self, **options):
        return EndpointTeacher(self.url, "tiny", KEY, **options)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers, json.loads(body)))
        time.sleep(self.server.delay_seconds)
        try:
            self.send_response(self.server.status)
            for name, value in self.server.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(self.server.body)))
            self.end_headers()
            self.wfile.write(self.server.body)
        except OSError:  # who waited is gone
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_endpoint_is_asked_with_model_messages_options_and_key(endpoint):
    teacher = endpoint.teacher(options={"temperature": 0.5})
    assert teacher(MESSAGES) == "Hello."
    ((path, headers, body),) = endpoint.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Content-Type"] == "application/json"
    assert body == {"model": "tiny", "messages": MESSAGES, "temperature": 0.5}


def test_an_endpoint_without_a_key_gets_none(endpoint):
    assert EndpointTeacher(f"{endpoint.url}/", "tiny")(MESSAGES) == "Hello."
    ((path, headers, _),) = endpoint.asked
    assert path == "/v1/chat/completions"
    assert "Authorization" not in headers


def test_an_endpoint_writes_episodes(endpoint):
    endpoint.body = said(f"```json\n{json.dumps(EPISODE)}\n```")
    written = write_episodes(FACT, endpoint.teacher(), count=1)
    assert [one.question for one in written.episodes] == ["When was I born?"]


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_a_refusal_is_named_without_the_key(endpoint, status):
    endpoint.status, endpoint.body = status, f"Bad key:\n{KEY}".encode()
    with pytest.raises(
        TeacherError, match=rf"HTTP status {status} .*It said: Bad key: …"
    ) as caught:
        endpoint.teacher()(MESSAGES)
    assert caught.value.status == status
    assert caught.value.teacher == f"{endpoint.url}/chat/completions"
    assert KEY not in f"{caught.value}{caught.value!r}{caught.value.__context__!r}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(endpoint, status):
    endpoint.status, endpoint.headers = status, {"Location": f"{endpoint.url}/chat/completions"}
    with pytest.raises(TeacherError, match=f"HTTP status {status}"):
        endpoint.teacher()(MESSAGES)
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<html>", "its reply is not JSON"),
        (b"[]", "its reply has no choices"),
        (b"{}", "its reply has no choices"),
        (b'{"choices": []}', "its reply has no choices"),
        (b'{"choices": [1]}', "first choice of its reply has no text"),
        (b'{"choices": [{"message": null}]}', "first choice of its reply has no text"),
        (b'{"choices": [{"message": {"content": null}}]}', "first choice of its reply has no text"),
    ],
)
def test_a_reply_that_is_no_text_is_named(endpoint, body, problem):
    endpoint.body = body
    with pytest.raises(TeacherError, match=problem) as caught:
        endpoint.teacher()(MESSAGES)
    assert caught.value.status is None


def test_a_reply_that_is_too_large_is_not_read(endpoint, monkeypatch):
    monkeypatch.setattr("engram_transformers.skill.teachers._LARGEST_REPLY_BYTES", 8)
    with pytest.raises(TeacherError, match="larger than 8 bytes"):
        endpoint.teacher()(MESSAGES)


def test_an_endpoint_that_is_late_is_a_time_out(endpoint):
    endpoint.delay_seconds = 0.5
    with pytest.raises(TimeoutError, match=r"no reply within 0\.1 seconds") as caught:
        endpoint.teacher(timeout_seconds=0.1)(MESSAGES)
    assert isinstance(caught.value, TeacherTimeoutError)


def test_an_endpoint_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with HTTPServer(("127.0.0.1", 0), _Handler) as free:
        url = f"http://127.0.0.1:{free.server_port}/v1"
    with pytest.raises(TeacherError, match="it could not be asked"):
        EndpointTeacher(url, "tiny", KEY)(MESSAGES)


def test_the_key_is_not_shown():
    assert KEY not in repr(EndpointTeacher("https://example.org/v1", "tiny", KEY))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/v1",
        "example.org/v1",
        "https://",
        "https://ann:sk-very-secret@example.org/v1",
        "https://example.org/v1?key=sk-very-secret",
        "https://example.org/v1#sk-very-secret",
        "https://[sk-very-secret/v1",
        "https://example.org:0/v1",
        "https://example.org/v 1",
    ],
)
def test_urls_that_are_no_endpoint_are_refused(url):
    with pytest.raises(ConfigError, match="an http or https URL") as caught:
        EndpointTeacher(url, "tiny")
    assert KEY not in f"{caught.value}{caught.value.__context__ if KEY not in url else ''}"


@pytest.mark.parametrize("key", ["", f"{KEY}\n", f"{KEY}é", f"{KEY} x"])
def test_keys_that_can_not_be_sent_are_refused_and_not_shown(key):
    with pytest.raises(ConfigError, match="ASCII characters without white space") as caught:
        EndpointTeacher("https://example.org/v1", "tiny", key)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_times_that_can_not_be_waited_are_refused(seconds):
    with pytest.raises(ConfigError, match="timeout_seconds"):
        EndpointTeacher("https://example.org/v1", "tiny", timeout_seconds=seconds)


def test_a_model_replies_the_same_to_the_same_and_leaves_all_as_it_was(tiny_llama, tiny_tokenizer):
    tiny_llama.train()
    before = torch.get_rng_state()
    teacher = ModelTeacher(tiny_llama, tiny_tokenizer, max_new_tokens=12)
    first = teacher(MESSAGES)
    assert first == teacher(MESSAGES)
    assert torch.equal(torch.get_rng_state(), before)
    assert tiny_llama.training
    options = {"max_new_tokens": 12}
    other = ModelTeacher(tiny_llama, tiny_tokenizer, **options, seed=1)(MESSAGES)
    likeliest = ModelTeacher(tiny_llama, tiny_tokenizer, **options, temperature=0)(MESSAGES)
    assert len({first, other, likeliest}) == 3


def test_nonsense_of_a_model_ends_in_the_named_error(tiny_llama, tiny_tokenizer):
    teacher = ModelTeacher(tiny_llama, tiny_tokenizer, max_new_tokens=24)
    with pytest.raises(NoEpisodesError, match="wrote no episode that can be used") as caught:
        write_episodes(FACT, teacher, count=2, attempts=2, progress=False)
    assert sum(number for _, number in caught.value.reasons) == len(caught.value.rejected) >= 2


def test_options_of_a_model_that_are_not_allowed_are_named(tiny_llama):
    tokenizer = tiny.tiny_tokenizer()
    with pytest.raises(ConfigError, match="max_new_tokens"):
        ModelTeacher(tiny_llama, tokenizer, max_new_tokens=0)
    with pytest.raises(ConfigError, match="temperature"):
        ModelTeacher(tiny_llama, tokenizer, temperature=-0.1)
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="one with a chat template"):
        ModelTeacher(tiny_llama, tokenizer)
