"""Teachers: language models that write episodes."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import urlsplit

import torch
import xxhash
from torch import nn

from engram_transformers.errors import ConfigError, TeacherError, TeacherTimeoutError
from engram_transformers.sequences import prompt_ids
from engram_transformers.strict_json import parse_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Teacher: TypeAlias = Callable[[list[dict[str, str]]], str]
"""Chat messages in, {"role": …, "content": …} each, and a reply out."""

_LARGEST_REPLY_BYTES = 1 << 24
_DETAIL = 300  # characters of what an endpoint says about its refusal


class ModelTeacher:
    """A Hugging Face chat model as a teacher.

    The same messages get the same reply; torch's random state stays as it is.

    Args:
        model: A causal language model, best one that is instructed and larger than the one that is
            to get the skill.
        tokenizer: Its tokenizer, with a chat template.
        max_new_tokens: The longest reply, in tokens.
        temperature: Of sampling. 0 takes the likeliest token.
        seed: Of sampling.

    Raises:
        ConfigError: If the tokenizer has no chat template, or an option is not allowed.

    Example:
        >>> def teacher(model, tokenizer):
        ...     return ModelTeacher(model, tokenizer, temperature=0.5)
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_new_tokens: int = 1024,
        temperature: float = 0.7,
        seed: int = 0,
    ) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigError("tokenizer", type(tokenizer).__name__, "one with a chat template")
        if max_new_tokens < 1:
            raise ConfigError("max_new_tokens", max_new_tokens, "at least 1")
        if not temperature >= 0:
            raise ConfigError("temperature", temperature, "0 or more")
        self.model = model
        self.tokenizer = tokenizer
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.seed = seed

    def __call__(self, messages: list[dict[str, str]]) -> str:
        """Return the model's reply to chat messages."""
        model, tokenizer = cast(Any, self.model), cast(Any, self.tokenizer)
        prompt = tuple((message["role"], message["content"]) for message in messages)
        device = next(self.model.parameters()).device
        ids = torch.tensor([prompt_ids(tokenizer, prompt)[0]], device=device)  # (1, seq)
        padding = tokenizer.pad_token_id
        sampling = {"do_sample": True, "temperature": self.temperature}
        was_training = self.model.training
        self.model.eval()
        try:
            # Not a state that counts on: what is written does not depend on what was asked before.
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                torch.manual_seed(self._seed_of(messages))
                output = model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=self.max_new_tokens,
                    pad_token_id=tokenizer.eos_token_id if padding is None else padding,
                    **(sampling if self.temperature else {"do_sample": False}),
                )
        finally:
            self.model.train(was_training)
        return tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)

    def _seed_of(self, messages: list[dict[str, str]]) -> int:
        return xxhash.xxh3_64_intdigest(json.dumps([self.seed, messages]).encode()) >> 1


@dataclass(frozen=True)
class EndpointTeacher:
    """A chat model behind an OpenAI-compatible endpoint as a teacher.

    Facts leave the machine: they are sent to the endpoint. Redirects are not followed, as the key
    would go along.

    Attributes:
        url: What `/chat/completions` is put behind, as in "http://localhost:8000/v1".
        model: The model's name there.
        api_key: Sent as a bearer token; never shown. None for none.
        timeout_seconds: How long to wait for the connection, and for each part of the reply.
        options: More fields of the request, as in {"temperature": 0.7}.

    Raises:
        ConfigError: If the URL is not http or https, or has more than a host, a port and a path; if
            the key can't be sent; if the time is not positive.

    Example:
        >>> EndpointTeacher("http://localhost:8000/v1", "my-model", api_key="secret")
        EndpointTeacher(url='http://localhost:8000/v1', model='my-model', timeout_seconds=60, \
options={})
    """

    url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    timeout_seconds: float = 60
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        _require_url(self.url)
        key = self.api_key
        # The standard library would name a key that is no header, in full.
        if key is not None and not (key and key.isascii() and key.isprintable() and " " not in key):
            raise ConfigError("api_key", "…", "ASCII characters without white space")
        if not self.timeout_seconds > 0:
            raise ConfigError("timeout_seconds", self.timeout_seconds, "more than 0")

    def __call__(self, messages: list[dict[str, str]]) -> str:
        """Return the endpoint's reply to chat messages.

        Raises:
            TeacherTimeoutError: If it does not reply in time.
            TeacherError: If it can't be reached, refuses, or replies with something else than text.
        """
        body = json.dumps({**self.options, "model": self.model, "messages": messages})
        headers = {"Content-Type": "application/json"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        request = urllib.request.Request(self._address, body.encode(), headers, method="POST")
        return self._content(self._sent(request))

    @property
    def _address(self) -> str:
        return f"{self.url.rstrip('/')}/chat/completions"

    def _sent(self, request: urllib.request.Request) -> bytes:
        opener = urllib.request.build_opener(_NoRedirects)
        try:
            with opener.open(request, timeout=self.timeout_seconds) as response:
                data: bytes = response.read(_LARGEST_REPLY_BYTES + 1)
        except urllib.error.HTTPError as error:
            raise self._refused(error) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(cause, TimeoutError):
                reason = f"there was no reply within {self.timeout_seconds:g} seconds."
                raise TeacherTimeoutError(self._address, reason) from None
            raise self._failed(f"it could not be asked ({self._hidden(repr(cause))}).") from None
        if len(data) > _LARGEST_REPLY_BYTES:
            raise self._failed(f"its reply is larger than {_LARGEST_REPLY_BYTES} bytes.")
        return data

    def _content(self, data: bytes) -> str:
        """Take the text out of a reply."""
        try:
            reply: Any = parse_json(data)
        except ValueError as error:
            raise self._failed(f"its reply {error}.") from None
        choices: Any = cast("dict[str, Any]", reply).get("choices") if _is_dict(reply) else None
        if not isinstance(choices, list) or not choices:
            raise self._failed("its reply has no choices.")
        first: Any = cast("list[Any]", choices)[0]
        message: Any = first.get("message") if _is_dict(first) else None
        content: Any = message.get("content") if _is_dict(message) else None
        if not isinstance(content, str):
            raise self._failed("the first choice of its reply has no text.")
        return content

    def _refused(self, error: urllib.error.HTTPError) -> TeacherError:
        try:
            with error:
                detail = error.read(1 << 16).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            detail = ""
        detail = self._hidden(" ".join(detail.split()))[:_DETAIL]
        said = f" It said: {detail}" if detail else ""
        reason = f"HTTP status {error.code} {self._hidden(str(error.reason))}.{said}"
        return TeacherError(self._address, reason, error.code)

    def _failed(self, reason: str) -> TeacherError:
        return TeacherError(self._address, reason)

    def _hidden(self, text: str) -> str:
        """Return a text without the key, which some endpoints repeat when they refuse it."""
        return text.replace(self.api_key, "…") if self.api_key else text


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an HTTP error: it would take the key to another host."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """Follow none."""


def _require_url(url: str) -> None:
    expected = "an http or https URL with nothing but a host, a port and a path"
    try:
        parts = urlsplit(url)
        shown = f"{parts.scheme}://{parts.hostname}{parts.path}"  # no user, password or query
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ConfigError("url", "…", expected) from None
    if not is_good or "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError("url", shown, expected)
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError("url", shown, f"{expected}, in printable ASCII")


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def reply_of(teacher: Teacher, messages: list[dict[str, str]]) -> str:
    """Ask a teacher.

    Raises:
        TeacherError: If the request fails, or it returns no text.
    """
    reply = cast(Any, teacher(messages))
    if not isinstance(reply, str):
        raise TeacherError(repr(teacher), f"it returned {type(reply).__name__}.")
    return reply
