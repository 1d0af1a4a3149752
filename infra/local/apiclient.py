"""A small HTTP client for the scripts: cookies, no hidden redirects, problem+json as readable errors, server-sent events.

Cookies are kept per origin and sent back whatever their `Secure` says: everything here is one machine, and browsers
treat 127.0.0.1 as secure as well.
"""
from __future__ import annotations

import contextlib
import http.client
import json
import time
from http.cookies import CookieError, SimpleCookie
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple
from urllib.parse import urlsplit

from console import Failure


class Answer(NamedTuple):
    method: str
    path: str
    status: int
    headers: Dict[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Failure("%s %s answered %d, and no JSON." % (self.method, self.path, self.status)) from error

    def expect(self, *statuses: int) -> "Answer":
        if self.status not in statuses:
            raise Failure("%s %s answered %s" % (self.method, self.path, explain(self.status, self.body)))
        return self


class Event(NamedTuple):
    name: str
    data: Any


def explain(status: int, body: bytes) -> str:
    """`402 insufficient_cbt: The balance is too low.`, out of a problem+json."""
    try:
        problem = json.loads(body)
    except ValueError:
        return "%d: %s" % (status, body[:300].decode("utf-8", "replace"))
    if not isinstance(problem, dict):
        return "%d: %s" % (status, problem)
    parts = [str(problem[key]) for key in ("title", "detail") if problem.get(key)]
    parts += ["%s" % error for error in problem.get("errors") or []]
    if problem.get("requestId"):
        parts.append("(request %s)" % problem["requestId"])
    code = problem.get("code") or str(problem.get("type", "")).rsplit("/", 1)[-1]
    return "%d %s: %s" % (status, code, " ".join(parts))


class Client:
    def __init__(self, base: str, timeout: float = 60.0):
        self.base, self.timeout = base.rstrip("/"), timeout
        self.token = ""
        self.cookies: Dict[str, Dict[str, str]] = {}

    def _headers(self, origin: str, given: Dict[str, str]) -> Dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "camarad-local", **given}
        jar = self.cookies.get(origin)
        if jar:
            headers["Cookie"] = "; ".join("%s=%s" % pair for pair in jar.items())
        if self.token and origin == self.base:
            headers["Authorization"] = "Bearer " + self.token
        return headers

    def _keep_cookies(self, origin: str, response: http.client.HTTPResponse) -> None:
        jar = self.cookies.setdefault(origin, {})
        for line in response.headers.get_all("Set-Cookie") or []:
            with contextlib.suppress(CookieError):
                for name, morsel in SimpleCookie(line).items():
                    if morsel["max-age"] == "0" or not morsel.value:
                        jar.pop(name, None)
                    else:
                        jar[name] = morsel.value

    @contextlib.contextmanager
    def open(
        self, method: str, url: str, body: Optional[bytes], headers: Dict[str, str]
    ) -> Iterator[Tuple[http.client.HTTPResponse, str]]:
        parts = urlsplit(url if "://" in url else self.base + url)
        origin = "%s://%s" % (parts.scheme, parts.netloc)
        path = parts.path + ("?" + parts.query if parts.query else "")
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=self.timeout)
        try:
            connection.request(method, path or "/", body, self._headers(origin, headers))
            response = connection.getresponse()
            self._keep_cookies(origin, response)
            yield response, path
        except (OSError, http.client.HTTPException) as error:
            raise Failure("%s %s got no answer: %s" % (method, path, error or type(error).__name__)) from error
        finally:
            connection.close()

    def send(self, method: str, url: str, body: Optional[bytes] = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        begun = time.monotonic()
        with self.open(method, url, body, named) as (response, path):
            content = response.read()
            plain = {name.lower(): value for name, value in response.headers.items()}
            return Answer(method, path, response.status, plain, content, time.monotonic() - begun)

    def get(self, url: str) -> Answer:
        return self.send("GET", url)

    def post(self, url: str, value: Any, **headers: str) -> Answer:
        return self.send("POST", url, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def events(self, url: str, value: Any, key: str) -> Iterator[Event]:
        """Server-sent events of a POST, each as soon as it is here."""
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream", "Idempotency-Key": key}
        with self.open("POST", url, json.dumps(value).encode(), headers) as (response, path):
            if response.status != 200:
                raise Failure("POST %s answered %s" % (path, explain(response.status, response.read())))
            lines: List[str] = []
            for line in text_lines(response):
                if line:
                    lines.append(line)
                elif lines:
                    event = parse_event(lines)
                    lines = []
                    if event:
                        yield event


def text_lines(response: http.client.HTTPResponse) -> Iterator[str]:
    pending = b""
    while True:
        chunk = response.read1(65_536)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r").decode("utf-8", "replace")


def parse_event(lines: List[str]) -> Optional[Event]:
    name, data = "message", []
    for line in lines:
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
    if not data:
        return None  # a comment, such as the ping
    try:
        return Event(name, json.loads("\n".join(data)))
    except ValueError:
        return Event(name, "\n".join(data))
