#!/usr/bin/env python3
"""Deploys template.yaml into the local AWS services with `sam deploy`, and writes the stack's outputs as JSON.

    infra/local/deploy.py --endpoint http://127.0.0.1:4566 --mode proxy
    infra/local/deploy.py --endpoint http://127.0.0.1:4566 --mode native Stage=test LogLevel=DEBUG

What is deployed is the template itself but for three things: a function's code is a zip made here instead of what
`sam build` makes, the API gets an id that is known beforehand, and in mode "proxy" a function is told where it runs.

    native  the code is the binary of target/debug, stripped; run `cargo build --workspace` before
    proxy   the code runs in `cargo lambda watch`; the local services forward invocations to it

Nothing is done when the stack exists and neither template, parameters nor code have changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import samtools  # noqa: E402
from samtools import ROOT, fail  # noqa: E402

PLACEHOLDER = b'#!/bin/sh\necho "This function runs in cargo lambda watch: start it with make dev." >&2\nexit 1\n'
REGION = "us-east-1"  # what the local services take a request for that names none
ALIVE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", required=True, help="address of the local AWS services")
    parser.add_argument("--mode", required=True, choices=["native", "proxy"])
    parser.add_argument("--stack", default="camarad-local", help="name of the stack")
    parser.add_argument("--proxy-url", default="http://127.0.0.1:9000", help="where `cargo lambda watch` listens")
    parser.add_argument("--functions-endpoint", help="the endpoint as functions see it, if that is another")
    parser.add_argument("--bin-dir", default=str(ROOT / "target" / "debug"), help="where the binaries are")
    parser.add_argument("--dir", help="working folder (default: .local/deploy/STACK)")
    parser.add_argument("--out", help="file for the outputs (default: DIR/outputs.json)")
    parser.add_argument("--force", action="store_true", help="deploy even if nothing has changed")
    parser.add_argument("parameters", nargs="*", metavar="Key=Value", help="parameters of the template")
    args = parser.parse_args()
    args.endpoint = args.endpoint.rstrip("/")
    args.dir = Path(args.dir) if args.dir else ROOT / ".local" / "deploy" / args.stack
    args.out = Path(args.out) if args.out else args.dir / "outputs.json"
    for item in args.parameters:
        if "=" not in item:
            fail(f"a parameter is Key=Value, not {item!r}")
        if '\\"' in item:
            fail(f"SAM drops the backslash of an escaped quote, so a parameter cannot hold one: {item}")
    return args


def code(binary: str, args: argparse.Namespace) -> bytes:
    """The bytes of a function's `bootstrap`."""
    if args.mode == "proxy":
        return PLACEHOLDER
    source = Path(args.bin_dir) / binary
    if not source.exists():
        fail(f"{source} is missing: run `cargo build --workspace`")
    # Debug information is nine tenths of a dev binary, and the services unpack every byte of it.
    stripped = args.dir / "stripped" / binary
    if not stripped.exists() or stripped.stat().st_mtime_ns != source.stat().st_mtime_ns:
        stripped.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["strip", "-o", str(stripped), str(source)], check=True)
        os.utime(stripped, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
    return stripped.read_bytes()


def pack(path: Path, content: bytes) -> None:
    """Writes a zip that is the same bytes for the same content."""
    info = zipfile.ZipInfo("bootstrap", date_time=(2020, 1, 1, 0, 0, 0))
    info.external_attr = 0o755 << 16
    # Compressing takes ten times as long as sending it to the services of the same machine.
    info.compress_type = zipfile.ZIP_STORED
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, content)


def local_variant(args: argparse.Namespace) -> Tuple[Dict[str, Any], str, Dict[str, str]]:
    """The template to deploy, the id of its API, and a digest of every function's code."""
    template = samtools.read_template()
    template["Globals"]["Function"].pop("CodeUri", None)
    digests = {}
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            binary = resource.pop("Metadata")["BuildProperties"]["Binary"]
            content = code(binary, args)
            digests[binary] = hashlib.sha256(content).hexdigest()
            archive = args.dir / "code" / f"{binary}-{digests[binary][:16]}.zip"
            if not archive.exists():
                for old in archive.parent.glob(f"{binary}-????????????????.zip"):
                    old.unlink()
                pack(archive, content)
            resource["Properties"]["CodeUri"] = str(archive.resolve())
            if args.mode == "proxy":
                variables = resource["Properties"].setdefault("Environment", {}).setdefault("Variables", {})
                url = f"{args.proxy_url}/2015-03-31/functions/{binary}/invocations"
                variables["MINISTACK_LAMBDA_PROXY_URL"] = url
        if resource["Type"] == "AWS::Serverless::StateMachine":
            definition = ROOT / resource["Properties"]["DefinitionUri"]
            digests[definition.name] = hashlib.sha256(definition.read_bytes()).hexdigest()
            resource["Properties"]["DefinitionUri"] = str(definition)
    # The local services replace an API whose definition has changed, and make the new one before the old one goes: so
    # each definition has an id of its own. Only eight hexadecimal digits are recognized in a host name.
    definition = json.dumps(template["Resources"]["Api"]["Properties"]["DefinitionBody"], sort_keys=True)
    api_id = hashlib.sha256(f"{args.stack} {definition}".encode()).hexdigest()[:8]
    return template, api_id, digests


def parameters(args: argparse.Namespace, api_id: str) -> Dict[str, str]:
    """The template's parameters: what suits this machine, under what the command line says."""
    given = dict(item.split("=", 1) for item in args.parameters)
    values = {
        "Stage": "local",
        "Architecture": "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64",
        "LocalEndpoint": args.functions_endpoint or args.endpoint,
        **given,
    }
    values["PublicUrl"] = values.get("PublicUrl") or path_style(args.endpoint, api_id, values["Stage"])
    return values


def path_style(endpoint: str, api_id: str, stage: str) -> str:
    """The API's address without a host name that would have to be resolved."""
    return f"{endpoint}/restapis/{api_id}/{stage}/_user_request_"


def use_local_account() -> None:
    """Nothing of a real account that the shell may know gets near this."""
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_CA_BUNDLE"]:
        del os.environ[name]
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    # The root of the first account, and the only one whose APIs can be called without a signature.
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    os.environ.update({**nowhere, **keys, "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true"})


def client(service: str, args: argparse.Namespace) -> Any:
    import boto3

    return boto3.client(service, endpoint_url=args.endpoint)


def stack_of(args: argparse.Namespace) -> Optional[Dict[str, Any]]:
    """The stack as CloudFormation describes it, if there is one."""
    import botocore.exceptions

    try:
        return client("cloudformation", args).describe_stacks(StackName=args.stack)["Stacks"][0]
    except botocore.exceptions.ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    except botocore.exceptions.EndpointConnectionError:
        fail(f"nothing answers at {args.endpoint}: is the local stack running?")


def sam_deploy(args: argparse.Namespace, template_file: Path, api_id: str, values: Dict[str, str]) -> None:
    bucket = f"{args.stack}-code"
    client("s3", args).create_bucket(Bucket=bucket)
    command = [samtools.find_sam(), "deploy", "--template-file", str(template_file), "--stack-name", args.stack]
    command += ["--s3-bucket", bucket, "--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset"]
    command += ["--no-fail-on-empty-changeset"]
    # The services give an API the id that this tag names, so that its address can be a parameter of its own functions.
    command += ["--tags", f"ms-custom-id={api_id}"]
    # By file, as nobody wants to quote JSON for SAM's command line.
    given = args.dir / "parameters.yaml"
    given.write_text(json.dumps(values, indent=1), encoding="utf-8")
    command += ["--parameter-overrides", f"file://{given.resolve()}"]
    # SAM waits five seconds between two looks at the stack; here a stack takes less.
    environment = {**os.environ, "AWS_ENDPOINT_URL": args.endpoint, "SAM_CLI_TELEMETRY": "0", "SAM_CLI_POLL_DELAY": "0.3"}
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    (args.dir / "sam.log").write_text(result.stdout, encoding="utf-8")
    if result.returncode != 0:
        sys.stderr.write("\n".join(result.stdout.splitlines()[-40:]) + "\n")
        fail(f"`sam deploy` failed; all of it is in {args.dir / 'sam.log'}")


def write_outputs(args: argparse.Namespace, stack: Dict[str, Any], values: Dict[str, str]) -> None:
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    host = args.endpoint.split("://", 1)[1]
    port = host.rsplit(":", 1)[1] if ":" in host else "80"
    outputs["Endpoint"] = args.endpoint
    outputs["Region"] = REGION
    outputs["StackName"] = args.stack
    outputs["Stage"] = values["Stage"]
    # Two ways to the deployed API: one without DNS, and the host that the services know it by.
    outputs["DeployedUrl"] = path_style(args.endpoint, outputs["ApiId"], values["Stage"])
    outputs["DeployedHost"] = f"{outputs['ApiId']}.execute-api.{os.environ.get('MINISTACK_HOST', 'localhost')}:{port}"
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(outputs, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    args = arguments()
    samtools.use_sams_python()
    use_local_account()
    started = time.monotonic()
    args.dir.mkdir(parents=True, exist_ok=True)
    template, api_id, digests = local_variant(args)
    values = parameters(args, api_id)
    text = json.dumps(template, indent=1)
    state = {"template": hashlib.sha256(text.encode()).hexdigest(), "parameters": values, "code": digests}
    state_file = args.dir / "state.json"
    stack = stack_of(args)
    alive = bool(stack) and stack["StackStatus"] in ALIVE
    if alive and not args.force and state_file.exists() and json.loads(state_file.read_text()) == {**state, "stack": stack["StackId"]}:
        write_outputs(args, stack, values)
        print(f"deploy: {args.stack} is up to date")
        return
    if stack and not alive:
        client("cloudformation", args).delete_stack(StackName=args.stack)
    # JSON is YAML, and keeps the long forms that the reader made of !Sub and !Ref.
    template_file = args.dir / "template.yaml"
    template_file.write_text(text, encoding="utf-8")
    state_file.unlink(missing_ok=True)
    sam_deploy(args, template_file, api_id, values)
    stack = stack_of(args)
    if not stack or stack["StackStatus"] not in ALIVE:
        fail(f"the stack is {stack['StackStatus'] if stack else 'missing'} after `sam deploy`; see {args.dir / 'sam.log'}")
    state_file.write_text(json.dumps({**state, "stack": stack["StackId"]}), encoding="utf-8")
    write_outputs(args, stack, values)
    print(f"deploy: {args.stack} deployed ({args.mode}) in {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
