"""People who use Camarad through its functions: requests become the events that API Gateway would send."""
from __future__ import annotations

import copy
import email.message
import json
import re
import subprocess
import uuid
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Pattern, Tuple
from urllib.parse import parse_qsl, urlsplit

import services
from apiclient import Answer, Client
from console import Failure
from peer import Function
from project import ROOT
from signin import sign_in

SAMPLE = json.loads((ROOT / "events" / "apigw-rest-get.json").read_text(encoding="utf-8"))


def routes() -> List[Tuple[str, Pattern[str], str]]:
    """Method, path and function of every route that exists."""
    found = []
    for line in (ROOT / "routes.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        fields = line.split("\t")
        if fields[-1] == "live":
            parts = re.split(r"(\{[^}]*\})", fields[1])
            pattern = "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts)
            found.append((fields[0], re.compile(pattern), fields[2]))
    return found


ROUTES = routes()


def function_of(method: str, path: str) -> str:
    for wanted, pattern, function in ROUTES:
        if wanted == method and pattern.fullmatch(path):
            return function
    raise Failure("routes.tsv has no %s %s." % (method, path))


def rest_event(method: str, url: str, headers: Dict[str, str], body: Optional[bytes] = None) -> Dict[str, Any]:
    """What a REST API sends to its function."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    event = copy.deepcopy(SAMPLE)
    event.update(
        resource=parts.path,
        path=parts.path,
        httpMethod=method,
        headers={"Host": SAMPLE["headers"]["Host"], **headers},
        multiValueHeaders={name: [value] for name, value in {"Host": SAMPLE["headers"]["Host"], **headers}.items()},
        queryStringParameters=dict(query) or None,
        multiValueQueryStringParameters={name: [v for n, v in query if n == name] for name, _ in query} or None,
        body=body.decode() if body is not None else None,
    )
    context = event["requestContext"]
    context.update(resourcePath=parts.path, httpMethod=method, requestId=str(uuid.uuid4()))
    context["path"] = "/%s%s" % (context["stage"], parts.path)
    return event


def http_answer(reply: Dict[str, Any]) -> Tuple[int, List[Tuple[str, str]], str]:
    """Status, headers and body of an answer, streamed or not."""
    if reply.get("prelude"):
        head = reply["prelude"]
        headers = list(head.get("headers", {}).items()) + [("set-cookie", cookie) for cookie in head.get("cookies", [])]
        return head["statusCode"], headers, reply["body"]
    answer = json.loads(reply["body"])
    if "statusCode" not in answer:
        raise Failure("The function failed: %s" % reply["body"][:300])
    many = answer.get("multiValueHeaders") or {name: [value] for name, value in answer.get("headers", {}).items()}
    return answer["statusCode"], [(n, v) for n, values in many.items() for v in values], answer.get("body") or ""


class LambdaClient(Client):
    """The scripts' HTTP client; what it would send to the API goes to the functions as events."""

    def __init__(self, base: str, function: Callable[[str], Function]):
        super().__init__(base)
        self.function = function

    def event(self, method: str, url: str, body: Optional[bytes] = None, **headers: str) -> Dict[str, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        path = url[len(self.base) :] if url.startswith(self.base) else url
        return rest_event(method, path, self._headers(self.base, named), body)

    def post_event(self, url: str, value: Any) -> Dict[str, Any]:
        """A POST with a key of its own."""
        body = json.dumps(value).encode()
        return self.event("POST", url, body, Content_Type="application/json", Idempotency_Key=str(uuid.uuid4()))

    def send(self, method: str, url: str, body: Optional[bytes] = None, **headers: str) -> Answer:
        if "://" in url and not url.startswith(self.base + "/"):
            return super().send(method, url, body, **headers)
        event = self.event(method, url, body, **headers)
        reply = self.function(function_of(method, event["path"])).invoke(event)
        status, pairs, text = http_answer(reply)
        message = email.message.Message()
        for name, value in pairs:
            message[name] = value
        self._keep_cookies(self.base, SimpleNamespace(headers=message))  # type: ignore[arg-type]
        plain = {name.lower(): value for name, value in pairs}
        return Answer(method, event["path"], status, plain, text.encode(), reply["end_us"] / 1e6)


class Person(NamedTuple):
    client: LambdaClient
    workspace: str
    agent: str


class People:
    """Signs people in. Each is used for fewer requests than the rate limit of one person allows in a minute."""

    def __init__(self, config: services.Config, table: str, make: Callable[[str], Function]):
        self.config, self.table, self.make = config, table, make
        self.functions: Dict[str, Function] = {}

    def function(self, name: str) -> Function:
        if name not in self.functions:
            self.functions[name] = self.make(name)
            self.functions[name].start()
        return self.functions[name]

    def newcomer(self) -> Person:
        client = LambdaClient(self.config.api, self.function)
        tokens = sign_in(client, self.config, "bench+%s@example.com" % uuid.uuid4().hex[:12])
        self.begin_trial(tokens["user"]["id"])
        key = {"Idempotency_Key": str(uuid.uuid4())}
        made = client.post("/api/workspaces", {"name": "Bench", "type": "business"}, **key).expect(201).json()
        key = {"Idempotency_Key": str(uuid.uuid4())}
        path = "/api/workspaces/%s/agents" % made["id"]
        agents = client.post(path, {"presetIds": ["ceo"]}, **key).expect(201).json()
        agents = agents["items"] if isinstance(agents, dict) else agents
        return Person(client, made["id"], agents[0]["id"])

    def begin_trial(self, user: str) -> None:
        """What Stripe's news would do; a bench has no Stripe."""
        command = [str(services.target_folder() / "trial"), self.config.aws, self.table, user, "business"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise Failure("No trial could be begun: %s" % run.stderr.strip())

    def close(self) -> None:
        for function in self.functions.values():
            function.close()
