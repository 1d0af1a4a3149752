"""What Camarad adds to an AI provider's own time until the first word, and what a call costs in CPU time."""
from __future__ import annotations

import json
import re
from typing import Any, Dict, List, NamedTuple, Tuple

from console import Failure, Step
from figures import median, ms, percentile
from peer import Function, Peer
from people import Person, http_answer
from stage import AUTHORIZATION, Stage, local_aws

CALLS_PER_PERSON = 60  # under the 100 requests a minute that one person may send
WARM_UP = 5
RECORDED = 50
QUESTION = "Which three things should I do first this week?"
FIRST_WORD = "event: delta"


class Measured(NamedTuple):
    through: List[float]
    direct: List[float]
    whole: List[float]
    table: List[float]
    cpu_ms: float
    words: int
    shares: List[Dict[str, float]]


def ask(person: Person) -> Dict[str, Any]:
    return person.client.post_event("/api/agents/%s/stream" % person.agent, {"message": QUESTION})


def checked(reply: Dict[str, Any]) -> Dict[str, Any]:
    """Only answers that came to their end count."""
    status, _, body = http_answer(reply)
    if status != 200 or "event: done" not in body or reply["mark_us"] is None:
        raise Failure("The stream answered %d: %s" % (status, body[-400:]))
    return reply


def streamed_text(body: str) -> Tuple[str, int]:
    """The text of the first delta, and how many deltas there are."""
    deltas = re.findall(r"^event: delta\r?\ndata: ?(.*)$", body, re.M)
    return json.loads(deltas[0])["text"], len(deltas)


def last_upstream(stage: Stage) -> Dict[str, Any]:
    """The request that the function has sent to the AI provider, to be sent again without the function."""
    received = json.loads(local_aws(stage.config.ai, "/_peer/requests"))
    return [one for one in received if one["method"] == "POST"][-1]


def direct_call(peer: Peer, stage: Stage, upstream: Dict[str, Any], word: str) -> float:
    """Until the same word, asked by the same process that measures the function."""
    kept = ("content-type", "accept", "anthropic-version")
    headers = {name: value for name, value in upstream["headers"].items() if name in kept}
    headers.update({"authorization": "Bearer local", "x-api-key": "local"})
    mark = '":"' + json.dumps(word, ensure_ascii=False)[1:-1]
    answer = peer.call("POST", stage.config.ai + upstream["path"], json.dumps(upstream["body"]), headers, mark)
    if answer["mark_us"] is None:
        raise Failure("The AI provider's own answer has no %s: %s" % (mark, answer["body"][:400]))
    return answer["mark_us"]


def table_round_trip(peer: Peer, stage: Stage) -> float:
    headers = {
        "x-amz-target": "DynamoDB_20120810.GetItem",
        "content-type": "application/x-amz-json-1.0",
        "authorization": AUTHORIZATION % "dynamodb",
    }
    key = {"PK": {"S": "HEALTH"}, "SK": {"S": "HEALTH"}}
    body = json.dumps({"TableName": stage.outputs["TableName"], "Key": key, "ConsistentRead": True})
    return peer.call("POST", stage.config.aws + "/", body, headers)["end_us"]


def waits(spans: List[Dict[str, Any]], begin: float, end: float) -> Tuple[float, int]:
    """How long at least one request was waited for within a time, and how many waits in a row that were."""
    total, rounds, until = 0.0, 0, begin
    for span in sorted(spans, key=lambda s: s["from_us"]):
        start, stop = max(span["from_us"], begin), min(span["till_us"], end)
        if stop <= start:
            continue
        if start >= until:
            rounds += 1
        total += max(0.0, stop - max(start, until))
        until = max(until, stop)
    return total, rounds


def recorded(stage: Stage, function: Function, people: List[Person], step: Step) -> List[Dict[str, float]]:
    """The same calls with a stopover in front of the table, which notes how long each request waited."""
    url = function.peer.order(do="record", to=stage.config.aws)["url"]
    function.start(endpoint=url)
    found = []
    for turn in range(WARM_UP + RECORDED):
        step.note("recorded, %d of %d" % (turn + 1, WARM_UP + RECORDED))
        reply = checked(function.invoke(ask(people[turn // CALLS_PER_PERSON]), FIRST_WORD))
        before, rounds = waits(reply["spans"], 0, reply["mark_us"])
        after, rounds_after = waits(reply["spans"], reply["mark_us"], reply["end_us"])
        one = {"first": reply["mark_us"], "table": before, "rounds": rounds, "after": after, "rounds_after": rounds_after}
        if turn >= WARM_UP:
            found.append(one)
    return found


def newcomers(stage: Stage, calls: int, step: Step) -> List[Person]:
    step.note("signing people in")
    return [stage.people.newcomer() for _ in range(-(-calls // CALLS_PER_PERSON))]


def run(stage: Stage, calls: int, step: Step) -> Measured:
    people = newcomers(stage, WARM_UP + calls, step)
    function = stage.function("runtime")
    through, direct, whole, table = [], [], [], []
    try:
        function.start()
        for _ in range(WARM_UP):
            last = checked(function.invoke(ask(people[-1]), FIRST_WORD))
        word, words = streamed_text(last["body"])
        upstream = last_upstream(stage)
        cpu = 0.0
        for turn in range(calls):
            step.note("%d of %d" % (turn + 1, calls))
            event = ask(people[turn // CALLS_PER_PERSON])
            used = function.cpu_seconds()
            reply = checked(function.invoke(event, FIRST_WORD))
            cpu += function.cpu_seconds() - used
            through.append(reply["mark_us"])
            whole.append(reply["idle_us"])
            # In turn, so that what else the machine does meets all three alike.
            direct.append(direct_call(function.peer, stage, upstream, word))
            table.append(table_round_trip(function.peer, stage))
        shares = recorded(stage, function, newcomers(stage, WARM_UP + RECORDED, step), step)
    finally:
        function.close()
    return Measured(through, direct, whole, table, cpu * 1000 / calls, words, shares)


def rows(found: Measured) -> List[List[str]]:
    def pair(name: str, values: List[float]) -> List[str]:
        return [name, ms(percentile(values, 0.5)), ms(percentile(values, 0.99))]

    added = [via - alone for via, alone in zip(found.through, found.direct)]

    def share(name: str) -> List[float]:
        return [one[name] for one in found.shares]

    rest = [one["first"] - one["table"] for one in found.shares]
    return [
        pair("first word through `stream`, ms", found.through),
        pair("first word of the AI peer called directly, ms", found.direct),
        pair("**added by Camarad, ms**", added),
        pair("one GetItem of MiniStack alone, ms", found.table),
        pair("recorded run: first word, ms", share("first")),
        pair("… of it waiting for the table, %d round trips in a row, ms" % median(share("rounds")), share("table")),
        pair("… of it all else, the AI peer included, ms", rest),
        pair("recorded run: table after the first word, %d in a row, ms" % median(share("rounds_after")), share("after")),
        pair("the whole call of %d deltas, until the next poll, ms" % found.words, found.whole),
        ["CPU time of the function per call, ms", "%.2f" % found.cpu_ms, ""],
    ]


COLUMNS = ["Streaming", "p50", "p99"]

