#!/usr/bin/env python3
"""Sends what waits in a dead-letter queue back to its queue: `make redrive QUEUE=billing`, once its cause is gone.

    infra/redrive.py billing                     of the stage dev, as samconfig.toml names its stack
    infra/redrive.py billing --stage prod        of another stage; `local` is the stack of `make dev`
    infra/redrive.py billing --outputs FILE      of the stack with these outputs
    infra/redrive.py --dead URL --queue URL [--endpoint URL]

Each letter is sent, then deleted. So none is lost, and if this dies in between one comes twice, which every consumer of
ours knows to be the same. A FIFO queue keeps the groups and the order within them. `aws sqs start-message-move-task` does
the same in the cloud, unseen; this does it there and locally, says what it did, and may be run again at any time.
"""
from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import samtools
from samtools import ROOT, fail

QUEUES = ["metering", "mail", "audit", "billing"]
LOCAL = ROOT / ".local" / "deploy" / "camarad-local" / "outputs.json"
# How long a letter is ours. Nobody else reads them, so what is given up comes again after it.
HELD_SECONDS = 60


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=QUEUES, help="which queue")
    parser.add_argument("--stage", default="default", help="as in samconfig.toml, or local")
    parser.add_argument("--outputs", type=Path, help="a file with the stack's outputs, as infra/local/deploy.py writes it")
    parser.add_argument("--dead", help="address of the dead-letter queue")
    parser.add_argument("--queue", help="address of the queue")
    parser.add_argument("--endpoint", help="address of the AWS services, if it is another")
    args = parser.parse_args()
    if bool(args.name) == bool(args.dead and args.queue):
        parser.error("say which: a name, or --dead and --queue")
    return args


def stack_name(stage: str) -> str:
    import tomlkit  # SAM reads samconfig.toml with it

    config = tomlkit.parse((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
    try:
        return str(config[stage]["deploy"]["parameters"]["stack_name"])
    except KeyError:
        fail("samconfig.toml has no stage %s" % stage)
        raise


def outputs(args: argparse.Namespace) -> Dict[str, str]:
    """Those of the stack that is meant."""
    import boto3

    file: Optional[Path] = args.outputs or (LOCAL if args.stage == "local" else None)
    if file:
        if not file.is_file():
            fail("there is no %s: is the stack deployed?" % file)
        return json.loads(file.read_text(encoding="utf-8"))
    stacks = boto3.client("cloudformation").describe_stacks(StackName=stack_name(args.stage))["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}


def client(endpoint: Optional[str], region: Optional[str]) -> Any:
    import boto3

    # Of a stack on this machine, whose owner needs no keys of a real account, and must not use any.
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"} if region else {}
    return boto3.client("sqs", endpoint_url=endpoint, region_name=region, **keys)


def places(args: argparse.Namespace) -> Tuple[Any, str, str]:
    if args.dead:
        return client(args.endpoint, None), args.dead, args.queue
    known = outputs(args)
    name = args.name.capitalize()
    sqs = client(args.endpoint or known.get("Endpoint"), known.get("Region"))
    return sqs, known["%sDeadLettersUrl" % name], known["%sQueueUrl" % name]


def letters(sqs: Any, dead: str) -> Any:
    """One batch after the other, until none is left."""
    while True:
        got = sqs.receive_message(
            QueueUrl=dead,
            MaxNumberOfMessages=10,
            VisibilityTimeout=HELD_SECONDS,
            WaitTimeSeconds=2,
            MessageSystemAttributeNames=["MessageGroupId"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        if not got:
            return
        yield from got


def again(letter: Dict[str, Any]) -> Dict[str, Any]:
    """The message as it is sent."""
    message: Dict[str, Any] = {"MessageBody": letter["Body"]}
    if letter.get("MessageAttributes"):
        message["MessageAttributes"] = letter["MessageAttributes"]
    group = letter.get("Attributes", {}).get("MessageGroupId")
    if group:
        # A name of its own: under its first one the queue may still take it for the message that it was.
        message.update(MessageGroupId=group, MessageDeduplicationId="redrive-%s" % letter["MessageId"])
    return message


def waiting(sqs: Any, dead: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)


def main() -> None:
    args = arguments()
    samtools.use_sams_python()
    sqs, dead, queue = places(args)
    moved = 0
    for letter in letters(sqs, dead):
        sqs.send_message(QueueUrl=queue, **again(letter))
        sqs.delete_message(QueueUrl=dead, ReceiptHandle=letter["ReceiptHandle"])
        moved += 1
        print("sent back: %s" % letter["MessageId"])
    left = waiting(sqs, dead)
    print("%d sent back, %d left" % (moved, left))
    if left:
        print("What is left is in somebody's hands, or came just now: run this again in a minute.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
