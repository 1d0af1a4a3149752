"""Damage to the template that check_template.py must notice: (rule, what it is, how it is done to the resources)."""
from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

Resources = Dict[str, Any]


def _properties(resources: Resources, name: str) -> Dict[str, Any]:
    return resources[name]["Properties"]


def _paths(resources: Resources) -> Dict[str, Any]:
    return _properties(resources, "Api")["Body"]["paths"]


def _statement(resources: Resources, policy: str, index: int) -> Dict[str, Any]:
    return _properties(resources, policy)["PolicyDocument"]["Statement"][index]


def _integration(resources: Resources, path: str, method: str) -> Dict[str, Any]:
    return _paths(resources)[path][method]["x-amazon-apigateway-integration"]


def _variables(resources: Resources, function: str) -> Dict[str, Any]:
    return _properties(resources, function)["Environment"]["Variables"]


def _grow(resources: Resources) -> None:
    resources.update({"Copy%d" % n: resources["MeteringDeadLetters"] for n in range(400)})


def _without_audit_deny(resources: Resources) -> None:
    del _properties(resources, "WriteTable")["PolicyDocument"]["Statement"][1]


def _leading(resources: Resources, index: int) -> List[str]:
    return _statement(resources, "WriteTable", index)["Condition"]["ForAnyValue:StringLike"]["dynamodb:LeadingKeys"]


def _answer(resources: Resources, kind: str) -> Dict[str, Any]:
    return _properties(resources, "Api")["Body"]["x-amazon-apigateway-gateway-responses"][kind]


def _origin(resources: Resources, kind: str, value: str) -> None:
    _answer(resources, kind)["responseParameters"]["gatewayresponse.header.Access-Control-Allow-Origin"] = value


def _rule(resources: Resources, name: str) -> Dict[str, Any]:
    return next(rule for rule in _properties(resources, "Firewall")["Rules"] if rule["Name"] == name)


def _without_exception(resources: Resources, name: str) -> None:
    _rule(resources, name)["Statement"]["AndStatement"]["Statements"].pop()


def _any_origin(resources: Resources) -> None:
    headers = _rule(resources, "rate")["Action"]["Block"]["CustomResponse"]["ResponseHeaders"]
    for header in headers:
        if header["Name"] == "Access-Control-Allow-Origin":
            header["Value"] = "*"


def _counts_refreshes(resources: Resources) -> None:
    _rule(resources, "public-rate")["Statement"]["RateBasedStatement"]["ScopeDownStatement"]["AndStatement"][
        "Statements"].pop()


def _sees_no_encoding(resources: Resources) -> None:
    statement = _rule(resources, "bodies")["Statement"]["AndStatement"]["Statements"][1]["NotStatement"]["Statement"]
    statement["RegexMatchStatement"]["TextTransformations"].pop(0)


def _managed(resources: Resources, name: str) -> Dict[str, Any]:
    return _rule(resources, name)["Statement"]["ManagedRuleGroupStatement"]


STREAM = "/api/agents/{id}/stream"
STAR = "dynamodb:*"

DAMAGE: List[Tuple[str, str, Callable[[Resources], Any]]] = [
    ("size", "too many resources", _grow),
    ("size", "a reference that leads nowhere", lambda r: r.pop("SigningKeys")),
    ("size", "a local resource that needs one of the cloud", lambda r: r["MeteringQueue"].update(
        Properties={**_properties(r, "MeteringQueue"), "KmsMasterKeyId": {"Ref": "Firewall"}})),
    ("routes", "a missing route", lambda r: _paths(r)["/api/user"].pop("patch")),
    ("routes", "a route too many", lambda r: _paths(r)["/api/user"].update(put=_paths(r)["/api/user"]["get"])),
    ("routes", "a path without preflight", lambda r: _paths(r)["/api/user"].pop("options")),
    ("routes", "a route to another function", lambda r: _paths(r)["/api/user"].update(
        get=_paths(r)["/api/ledger"]["get"])),
    ("routes", "a stream that ends after 29 s", lambda r: _integration(r, STREAM, "post").pop("timeoutInMillis")),
    ("routes", "a stream that is buffered", lambda r: _integration(r, STREAM, "post").pop("responseTransferMode")),
    ("routes", "a second stage", lambda r: r.update(Other=r["ApiStage"])),
    ("permissions", "a function that the API may not call", lambda r: r.pop("UsersApiPermission")),
    ("permissions", "one permission too many", lambda r: r.update(Other=r["UsersApiPermission"])),
    ("permissions", "a permission for every API", lambda r: _properties(r, "UsersApiPermission").pop("SourceArn")),
    ("roles", "a shared role", lambda r: _properties(r, "UsersFunction").update(
        Role=_properties(r, "AgentsFunction")["Role"])),
    ("roles", "an action with a star", lambda r: _statement(r, "ReadTable", 0).update(Action=[STAR])),
    ("roles", "every table", lambda r: _statement(r, "ReadTable", 0).update(Resource="*")),
    ("roles", "a policy of AWS", lambda r: _properties(r, "UsersRole")["ManagedPolicyArns"].append(
        "arn:aws:iam::aws:policy/AdministratorAccess")),
    ("roles", "audit records that can be changed", _without_audit_deny),
    ("roles", "audit records that can be deleted", lambda r: _statement(r, "WriteTable", 1).update(
        Action=["dynamodb:UpdateItem"])),
    ("roles", "seals that can be changed", lambda r: _leading(r, 1).remove("SEAL#*")),
    ("roles", "seals that anybody writes", lambda r: _statement(r, "WriteTable", 2).update(Action=["dynamodb:GetItem"])),
    ("roles", "chains that anybody changes", lambda r: _leading(r, 3).append(_leading(r, 3).pop().lower())),
    ("roles", "a sealer that can change seals", lambda r: _properties(r, "AuditSealerRole")["Policies"][0][
        "PolicyDocument"]["Statement"].pop(2) and None),
    ("roles", "a function that deletes logs", lambda r: _statement(r, "Telemetry", 0)["Action"].append(
        "logs:DeleteLogStream")),
    ("kept", "anchors that go with the stack", lambda r: r["AuditSealerLogs"].pop("DeletionPolicy")),
    ("kept", "anchors that go after a month", lambda r: _properties(r, "AuditSealerLogs").update(RetentionInDays=30)),
    ("environment", "a variable that is missing everywhere", lambda r: _variables(r, "RuntimeFunction").pop(
        "AI_PROVIDERS_SECRET")),
    ("environment", "a variable that nobody reads", lambda r: _variables(r, "MetaFunction").update(TABEL_NAME="x")),
    ("environment", "a secret that a function may not read", lambda r: _variables(r, "MetaFunction").update(
        SIGNING_KEYS_SECRET={"Fn::GetAtt": ["SigningKeys", "Id"]})),
    ("environment", "a secret that a function need not read", lambda r: _variables(r, "UsersFunction").pop(
        "VAULT_SECRET")),
    ("environment", "operators whose providers are unknown", lambda r: _variables(r, "LedgerFunction").pop(
        "AUTH_PROVIDERS")),
    ("environment", "the local address in the cloud", lambda r: _variables(r, "MetaFunction").update(
        AWS_ENDPOINT_URL="http://127.0.0.1")),
    ("asynchronous", "a batch that fails as a whole", lambda r: _properties(r, "OutboxFunctionStream").pop(
        "FunctionResponseTypes")),
    ("asynchronous", "a short visibility time-out", lambda r: _properties(r, "MeteringQueue").update(
        VisibilityTimeout=60)),
    ("asynchronous", "a queue without dead letters", lambda r: _properties(r, "MeteringQueue").pop("RedrivePolicy")),
    ("asynchronous", "a stream without dead letters", lambda r: _properties(r, "OutboxFunctionStream").pop(
        "DestinationConfig")),
    ("kept", "a table that goes with the stack", lambda r: r["Table"].pop("DeletionPolicy")),
    ("kept", "a table that can be deleted", lambda r: _properties(r, "Table").update(DeletionProtectionEnabled=False)),
    ("kept", "logs that are kept forever", lambda r: _properties(r, "MetaFunction").pop("LoggingConfig")),
    ("gateway", "an answer for every origin", lambda r: _origin(r, "THROTTLED", "'*'")),
    ("gateway", "an answer for whoever asks", lambda r: _origin(r, "DEFAULT_4XX", "method.request.header.Origin")),
    ("gateway", "an answer for pages in a sandbox", lambda r: _origin(r, "DEFAULT_5XX", "'null'")),
    ("gateway", "a busy API that does not say for how long", lambda r: _answer(r, "THROTTLED")["responseParameters"].pop(
        "gatewayresponse.header.Retry-After")),
    ("gateway", "an answer without nosniff", lambda r: _answer(r, "WAF_FILTERED")["responseParameters"].pop(
        "gatewayresponse.header.X-Content-Type-Options")),
    ("gateway", "another status than it says", lambda r: _answer(r, "UNAUTHORIZED").update(statusCode="403")),
    ("firewall", "a refusal for every origin", _any_origin),
    ("firewall", "large events of Stripe's that are blocked", lambda r: _without_exception(r, "body-size")),
    ("firewall", "prompts that are blocked", lambda r: _without_exception(r, "bodies")),
    ("firewall", "refreshes that count as sign-ins", _counts_refreshes),
    ("firewall", "encoded paths that pass", _sees_no_encoding),
    ("firewall", "no rules for injection", lambda r: _properties(r, "Firewall")["Rules"].remove(_rule(r, "injection"))),
    ("firewall", "a group that blocks bodies", lambda r: _managed(r, "injection")["RuleActionOverrides"].pop(0) and _managed(
        r, "injection")["RuleActionOverrides"].pop(0)),
    ("local_types", "a type that does not exist locally", lambda r: r["Firewall"].pop("Condition")),
    ("local_types", "no firewall", lambda r: r.pop("FirewallOfApi")),
]
