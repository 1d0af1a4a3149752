"""`make fuzz`: schemathesis sends what clients/openapi.json allows, and what it forbids, to all functions in one process.

    fuzz.py [EXAMPLES]    so many cases of each kind per operation, 40 unless told

The seed is fixed, so two runs of the same code send the same. Nothing may be answered that the document does not
describe: no 5xx, no other status, content type or body; and nothing accepted that it forbids.
"""
from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Dict

import commands
import services
import tools
from console import Failure, run_main, say, step
from project import BIN, HERE, LOCAL, LOGS, ROOT, tool_environment

SEED = 20_260_101
DOCUMENT = ROOT / "clients" / "openapi.json"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)


def aimed(document: Dict[str, Any], known: Dict[str, str]) -> Dict[str, Any]:
    """The document with ids that exist, where a made-up one would only ever find nothing."""
    for path, operations in document["paths"].items():
        kind = "agent" if path.startswith("/api/agents/{id}") else "workspace"
        for method, operation in operations.items():
            if method == "delete":  # of what the others need
                continue
            for parameter in operation.get("parameters", []):
                if parameter["name"] == "workspaceId" or (parameter["name"], parameter["in"]) == ("id", "path"):
                    wanted = known["workspace" if parameter["name"] == "workspaceId" else kind]
                    if path.startswith(("/api/agents/{id}", "/api/workspaces/{id}", "/api/usage")):
                        parameter["schema"] = {"enum": [wanted]}
    return document


def main() -> int:
    commands.stop_on_signals()
    examples = sys.argv[1] if sys.argv[1:] else "40"
    tools.ensure(("fuzz",))
    build = ["cargo", "build", "-p", "camarad-tests", "--bin", "fuzz-target"]
    with step("Building the functions") as running:
        env = {**tool_environment(), **commands.CARGO_PROGRESS}
        commands.run(build, LOGS / "build.log", "The build failed", "`cargo build` shows the same.", env, on_line=commands.cargo_progress(running.note))
    command = [str(services.target_folder() / "fuzz-target")]
    log = (LOGS / "fuzz-target.log").open("wb")
    with log, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=tool_environment()) as target:
        try:
            assert target.stdout is not None
            line = target.stdout.readline()
            if not line:
                raise Failure("The functions did not start.", "See %s." % log.name)
            known = json.loads(line)
            say("The functions listen at %s." % known["url"])
            return fuzz(known, examples)
        finally:
            target.kill()


def fuzz(known: Dict[str, str], examples: str) -> int:
    LOCAL.mkdir(exist_ok=True)
    document = LOCAL / "fuzz.json"
    document.write_text(json.dumps(aimed(json.loads(DOCUMENT.read_text(encoding="utf-8")), known)), encoding="utf-8")
    command = [str(BIN / "schemathesis"), "--config-file", str(HERE / "schemathesis.toml")]
    command += ["run", str(document), "--url", known["url"]]
    command += ["--seed", str(SEED), "--max-examples", examples, "--checks", ",".join(CHECKS), "--mode", "all"]
    command += ["--phases", "examples,coverage,fuzzing", "--request-timeout", "60", "--suppress-health-check", "all"]
    command += ["--warnings", "off", "--continue-on-failure", "--header", "Authorization: Bearer ann"]
    # it keeps what it found before, and would begin with that: not the same run twice
    command += ["--generation-database", "none"]
    return subprocess.run(command, cwd=LOCAL, env=tool_environment(), check=False).returncode


if __name__ == "__main__":
    run_main(main)
