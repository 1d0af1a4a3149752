"""The functions, as processes behind the router of `cargo lambda watch`, which plays API Gateway and Lambda for them."""
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Dict, List

import router
import services
from apiclient import Client
from console import Failure, Step
from processes import Service
from project import HOST, LOGS, ROOT

PREFIX = "function-"
# How many of each there are: a process works on one request at a time, and a stream keeps one busy while it lasts.
INSTANCES, INSTANCES_OF = 2, {"runtime": 4, "metering-consumer": 1, "mailer": 1, "audit-sealer": 1, "outbox": 1, "scheduled": 1}
LOG = LOGS / "functions.log"


def names() -> List[str]:
    return sorted(manifest.parent.name for manifest in (ROOT / "functions").glob("*/Cargo.toml"))


def binaries(config: services.Config, env: Dict[str, str]) -> List[Service]:
    found = []
    for name in names():
        # what Lambda tells a function about itself; the path is where watch hands out the calls for one function
        own = {
            "AWS_LAMBDA_RUNTIME_API": "http://%s:%d/.rt/%s" % (HOST, config.ports["CAMARAD_WATCH_PORT"], name),
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_LOG_GROUP_NAME": "local",
            "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        }
        command = [str(services.target_folder() / name)]
        for number in range(INSTANCES_OF.get(name, INSTANCES)):
            service = "%s%s-%d" % (PREFIX, name, number + 1)
            title = "the function " + name
            found.append(Service(service, title, command, {**services.clean_environment(), **env, **own}, 0, LOG, lambda: True))
    return found


def probes() -> Dict[str, str]:
    """Function -> a path that it answers without any effect. Consumers have none: they start with their first event."""
    found: Dict[str, str] = {}
    for route in router.live_routes():
        if route["method"] == "GET" and route["function"] not in found:
            found[route["function"]] = route["path"].replace("{", "").replace("}", "")
    return found


def warm(config: services.Config, running: Step) -> None:
    """Asks each function something, all at once, so that nobody's first request waits for a start."""
    client = Client(config.api, timeout=120.0)
    todo = probes()
    with ThreadPoolExecutor(len(todo)) as pool:
        asked = {pool.submit(client.get, path): name for name, path in todo.items()}
        for number, job in enumerate(as_completed(asked)):
            running.note("%d of %d answer" % (number + 1, len(todo)))
            name = asked[job]
            try:
                status = job.result().status
            except Failure as failure:
                raise Failure("The function %s does not answer: %s" % (name, failure.message), log=LOG) from failure
            if status >= 500:
                raise Failure("The function %s answers %d." % (name, status), log=LOG)
