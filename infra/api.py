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
    ("ACCESS_DENIED", 403, "forbidden", "the request was refused"),
    ("API_CONFIGURATION_ERROR", 500, "internal", "an unexpected error occurred"),
    ("BAD_REQUEST_BODY", 400, "malformed", "the request is not valid"),
    ("BAD_REQUEST_PARAMETERS", 400, "malformed", "the request is not valid"),
    # Of a case that has no name here; the status line says which.
    ("DEFAULT_4XX", None, "refused", "the request was refused"),
    ("DEFAULT_5XX", None, "internal", "an unexpected error occurred"),
    ("EXPIRED_TOKEN", 403, "forbidden", "the request was refused"),
    ("INTEGRATION_FAILURE", 503, "unavailable", "the service is busy, try again"),
    ("INTEGRATION_TIMEOUT", 504, "timeout", "the request took too long"),
    ("INVALID_SIGNATURE", 403, "forbidden", "the request was refused"),
    # Its words for "no such path or method"; it has nothing to do with tokens here.
    ("MISSING_AUTHENTICATION_TOKEN", 404, "not_found", "there is no such resource"),
    ("QUOTA_EXCEEDED", 429, "rate_limited", "too many requests"),
    ("REQUEST_TOO_LARGE", 413, "payload_too_large", "the body is too large"),
    ("RESOURCE_NOT_FOUND", 404, "not_found", "there is no such resource"),
    ("THROTTLED", 429, "rate_limited", "too many requests"),
    ("UNAUTHORIZED", 401, "unauthenticated", "this needs a bearer token"),
    ("UNSUPPORTED_MEDIA_TYPE", 415, "unsupported_media_type", "the Content-Type must be application/json"),
    ("WAF_FILTERED", 403, "forbidden", "the request was blocked"),
]

# What a busy API says of when to come back, in seconds, as error.rs has it.
RETRY_AFTER = {"INTEGRATION_FAILURE": 1, "INTEGRATION_TIMEOUT": 1, "QUOTA_EXCEEDED": 60, "THROTTLED": 1}

# As http/edge.rs secures every answer. Without the CORS headers a browser would hide the status from the frontend. A
# gateway response knows no list of origins: it can echo whatever comes, or name one. So it names the first.
GATEWAY_HEADERS = {
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": "Retry-After",
    "Cache-Control": "no-store",
    # The strictest that needs no quotes, which a literal cannot have inside.
    "Content-Security-Policy": "sandbox",
    "Content-Type": "application/problem+json",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
FRONTEND = """!Sub ["'${Origin}'", {Origin: !If [HasFrontend, !Select [0, !Split [",", !Ref FrontendOrigins]], "https://none.invalid"]}]"""


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
        out += "            responseParameters:\n"
        out += f"              gatewayresponse.header.Access-Control-Allow-Origin: {FRONTEND}\n"
        after = {"Retry-After": str(RETRY_AFTER[kind])} if kind in RETRY_AFTER else {}
        for name, value in sorted({**GATEWAY_HEADERS, **after}.items()):
            # A value in single quotes is a literal.
            out += f"              gatewayresponse.header.{name}: \"'{value}'\"\n"
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
