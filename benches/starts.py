"""How long each function takes from nothing to its first poll and to its first answer; its size and memory."""
from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from console import Failure, Step
from figures import mebibytes, median, megabytes, ms
from people import Person, http_answer, rest_event
from peer import Function
from project import ROOT
from stage import STATE, Stage, all_functions

# The first request of each function: one that reads the table. `{…}` is the person's.
FIRST_REQUEST = {
    "agents": "/api/workspaces/{workspace}/agents",
    "audit": "/api/workspaces/{workspace}/audit-logs",
    "auth": "/api/auth/session",
    "ledger": "/api/ledger/balance",
    "meta": "/api/health/ready",
    "runtime": "/api/agents/{agent}/conversations",
    "usage": "/api/usage/stats?workspaceId={workspace}&range=day&groupBy=agent",
    "users": "/api/user",
    "workspaces": "/api/workspaces",
}
FIRST_EVENT = {
    "audit-sealer": "sqs-audit.json",
    "metering-consumer": "sqs-metering.json",
    "outbox": "dynamodb-stream-outbox.json",
    "scheduled": "scheduled-sweep.json",
}
# After each start. A person may send 100 requests a minute, and one person sends all of a function's.
WARM = 3

TIMES = ["first poll, ms", "first answer, ms", "of it the request, ms", "warm, ms"]
COLUMNS = ["Function", "zip, MB", *TIMES, "peak, MiB", "first request"]


class Figures(NamedTuple):
    zipped: int
    polled: List[float]
    answered: List[float]
    request: List[float]
    warm: List[float]
    peak: List[float]
    what: str


def zipped_size(program: Path) -> int:
    """Of the archive that would be uploaded: the stripped program, deflated at level 9."""
    stripped = STATE / "size" / "bootstrap"
    stripped.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(program, stripped)
    subprocess.run(["strip", str(stripped)], check=True)
    archive = stripped.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        made.write(stripped, "bootstrap")
    return archive.stat().st_size


def first_event(name: str, person: Optional[Person]) -> Any:
    if name in FIRST_EVENT:
        return json.loads((ROOT / "events" / FIRST_EVENT[name]).read_text(encoding="utf-8"))
    if person is None:
        return rest_event("GET", FIRST_REQUEST[name], {})
    return person.client.event("GET", FIRST_REQUEST[name].format(workspace=person.workspace, agent=person.agent))


def check(name: str, reply: Dict[str, Any]) -> None:
    """Only what was answered well counts."""
    if reply["mode"] == "error":
        raise Failure("%s failed: %s" % (name, reply["body"][:300]))
    if name in FIRST_REQUEST:
        status, _, body = http_answer(reply)
        if status != 200:
            raise Failure("%s answered %d: %s" % (name, status, body[:300]))
    elif "itemIdentifier" in reply["body"]:
        raise Failure("%s wants events again: %s" % (name, reply["body"][:300]))


def one_start(function: Function, event: Any, found: Figures) -> None:
    begun = function.start(event)
    reply = begun["reply"]
    check(function.name, reply)
    found.peak.append(function.peak_memory())
    found.polled.append(begun["polled_us"])
    found.answered.append(reply["end_us"])
    found.request.append(reply["end_us"] - begun["polled_us"])
    for _ in range(WARM):
        warm = function.invoke(event)
        check(function.name, warm)
        found.warm.append(warm["end_us"])
    function.stop()


def measure(stage: Stage, name: str, times: int, step: Step) -> Figures:
    person = stage.people.newcomer() if name in FIRST_REQUEST and name != "meta" else None
    event = first_event(name, person)
    what = FIRST_EVENT.get(name) or "GET " + FIRST_REQUEST[name].partition("?")[0].format(workspace="{id}", agent="{id}")
    found = Figures(zipped_size(stage.program(name)), [], [], [], [], [], what)
    function = stage.function(name)
    try:
        function.start()  # so that the program is in the page cache, as it was when it came out of the archive
        for turn in range(times):
            step.note("%s, %d of %d" % (name, turn + 1, times))
            one_start(function, event, found)
    finally:
        function.close()
    return found


def row(name: str, found: Figures) -> List[str]:
    times = [ms(median(values)) for values in (found.polled, found.answered, found.request, found.warm)]
    return [name, megabytes(found.zipped), *times, mebibytes(median(found.peak)), found.what]


def run(stage: Stage, times: int, step: Step, problems: List[str]) -> List[List[str]]:
    """A row per function; what a function cannot be measured by stands in `problems`."""
    rows = []
    for name in all_functions():
        try:
            rows.append(row(name, measure(stage, name, times, step)))
        except Failure as failure:
            problems.append("%s: %s" % (name, failure.message))
            rows.append([name, *["–"] * (len(COLUMNS) - 2), "not measured"])
    return rows
