#!/usr/bin/env python3
"""Writes the routes of routes.tsv into template.yaml, between its two marked lines.

    infra/api.py            rewrite the section
    infra/api.py --check    fail if it is not in step

The API's definition is written out, instead of one event per route on the functions, because SAM adds a Lambda
permission for every event: with 150 routes that alone would fill a third of a stack. It stands inside the template and
not in a file of its own, so that `sam validate`, cfn-lint and the checks see it.
"""

import csv
import json
import pathlib
import sys
from http import HTTPStatus

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN = "        # ---- routes: written by infra/api.py from routes.tsv, do not edit by hand\n"
END = "        # ---- end of routes\n"

# One function answers every preflight, by the same CORS code that all functions share: so preflights neither wait for
# nor take away executions of the function they ask about.
PREFLIGHT = "meta"

# What API Gateway answers by itself: its name of the case, status (None: keep its own), code as in error.rs, sentence.
GATEWAY_RESPONSES = [
    ("DEFAULT_4XX", None, "refused", "the request was refused"),
    ("DEFAULT_5XX", None, "internal", "an unexpected error occurred"),
    ("INTEGRATION_FAILURE", 503, "unavailable", "the service is busy, try again"),
    ("INTEGRATION_TIMEOUT", 504, "timeout", "the request took too long"),
    # Its words for "no such path or method"; it has nothing to do with tokens here.
    ("MISSING_AUTHENTICATION_TOKEN", 404, "not_found", "there is no such resource"),
    ("REQUEST_TOO_LARGE", 413, "payload_too_large", "the body is too large"),
    ("THROTTLED", 429, "rate_limited", "too many requests"),
    ("WAF_FILTERED", 403, "forbidden", "the request was blocked"),
]

# Echoing any origin is harmless here: these bodies hold nothing secret, and without the headers a browser would hide
# the status from the frontend. A value in single quotes is a literal; the other is taken from the request.
GATEWAY_HEADERS = {
    "Access-Control-Allow-Origin": "method.request.header.Origin",
    "Access-Control-Allow-Credentials": "'true'",
    "Cache-Control": "'no-store'",
    "Content-Type": "'application/problem+json'",
    "Vary": "'Origin'",
}


def live_routes(path=ROOT / "routes.tsv"):
    """The routes that exist now, as dicts."""
    with open(path, newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file, delimiter="\t") if row["state"] == "live"]


def invocation(function, stream=False):
    """The address of a function for API Gateway; streaming has an API version and an action of its own."""
    version, action = ("2021-11-15", "response-streaming-invocations") if stream else ("2015-03-31", "invocations")
    return (
        f"arn:${{AWS::Partition}}:apigateway:${{AWS::Region}}:lambda:path/{version}/functions/"
        f"arn:${{AWS::Partition}}:lambda:${{AWS::Region}}:${{AWS::AccountId}}:function:${{AWS::StackName}}-{function}/{action}"
    )


def operation(method, function, stream):
    # Without the time-out a stream ends after 29 s like any other answer.
    mode = ", responseTransferMode: STREAM, timeoutInMillis: 900000" if stream else ""
    return (
        f"            {method.lower()}: {{x-amazon-apigateway-integration: {{type: aws_proxy, httpMethod: POST{mode}, "
        f'uri: !Sub "{invocation(function, stream)}"}}, responses: {{}}}}\n'
    )


def gateway_responses():
    """Problems in the shape of problem.rs. API Gateway knows the status of the two defaults only when it answers."""
    out = "        x-amazon-apigateway-gateway-responses:\n"
    headers = ", ".join(f'gatewayresponse.header.{name}: "{value}"' for name, value in GATEWAY_HEADERS.items())
    for kind, status, code, detail in GATEWAY_RESPONSES:
        problem = {
            "type": f"urn:camarad:problem:{code}",
            "code": code,
            "title": HTTPStatus(status).phrase if status else "Error",
            "status": status or (400 if kind == "DEFAULT_4XX" else 500),
            "detail": detail,
            "requestId": "$context.requestId",
        }
        out += f"          {kind}:\n"
        if status:
            out += f'            statusCode: "{status}"\n'
        out += f"            responseParameters: {{{headers}}}\n"
        out += f"            responseTemplates: {{application/json: '{json.dumps(problem)}'}}\n"
    return out


def section(routes):
    out = gateway_responses() + "        paths:\n"
    by_path = {}
    for route in routes:
        by_path.setdefault(route["path"], []).append(route)
    for path, here in sorted(by_path.items()):
        out += f"          {path}:\n"
        for route in here:
            out += operation(route["method"], route["function"], route["mode"] == "stream")
        out += operation("options", PREFLIGHT, False)
    return out


def rewrite(template, routes):
    """The template's text with the section of these routes."""
    if template.count(BEGIN) != 1 or template.count(END) != 1:
        sys.exit("infra/api.py: template.yaml must have the two marked lines exactly once")
    head, rest = template.split(BEGIN)
    tail = rest.split(END)[1]
    return head + BEGIN + section(routes) + END + tail


def main():
    path = ROOT / "template.yaml"
    old = path.read_text(encoding="utf-8")
    new = rewrite(old, live_routes())
    if sys.argv[1:] == ["--check"]:
        if new != old:
            sys.exit("template.yaml is not in step with routes.tsv: run infra/api.py")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    elif new != old:
        path.write_text(new, encoding="utf-8")
        print("template.yaml: routes rewritten")


if __name__ == "__main__":
    main()
