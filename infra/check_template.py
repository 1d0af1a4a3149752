#!/usr/bin/env python3
"""Checks template.yaml as it is after SAM's transform, for the cloud and for the local services: `make check` runs it.

`sam validate` and cfn-lint know what CloudFormation accepts; this knows what was decided for this system.
"""
from __future__ import annotations

import copy
import json
import re
import sys
from typing import Any, Callable, Dict, Iterator, List, Tuple

import api
import samtools

LIMIT = 450  # CloudFormation stops at 500
AUDIT_ITEMS = ["AUDIT#*", "SEAL#*", "SEALED#*"]
SEALER = "AuditSealerRole"
# What is denied to every role that may write the table, and, but for the sealer, what is the sealer's.
DENIED = [
    ({"dynamodb:UpdateItem", "dynamodb:DeleteItem"}, AUDIT_ITEMS, "change audit records and seals"),
]
DENIED_BUT_SEALER = [
    ({"dynamodb:PutItem"}, ["SEAL#*", "SEALED#*"], "write seals"),
    ({"dynamodb:UpdateItem", "dynamodb:DeleteItem"}, ["CHAIN#*"], "change audit chains"),
]
TABLE_WRITES = {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}

VARIANTS: Dict[str, Dict[str, str]] = {
    "cloud": {},
    "cloud, everything on": {
        "PublicUrl": "https://api.example.com",
        "MailFrom": "camarad@example.com",
        "AlarmTopic": "arn:aws:sns:eu-central-1:123456789012:alarms",
        "FrontendOrigins": "https://app.example.com,https://admin.example.com",
        "FirewallManagedRules": "block",
        "RuntimeConcurrency": "100",
        "CriticalConcurrency": "10",
    },
    "cloud, second stage": {"Stage": "staging", "ApiLogsRole": "existing"},
    "local": {"Stage": "local", "MailFrom": "camarad@example.com", "LocalEndpoint": "http://127.0.0.1:4566", "Architecture": "x86_64"},
}

# What the local services are known to make. Anything else needs the condition Cloud, or a trial and a line here.
LOCAL_TYPES = {
    "AWS::ApiGateway::Deployment",
    "AWS::ApiGateway::RestApi",
    "AWS::ApiGateway::Stage",
    "AWS::CloudWatch::Alarm",
    "AWS::DynamoDB::Table",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Role",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Function",
    "AWS::Lambda::Permission",
    "AWS::Logs::LogGroup",
    "AWS::SES::EmailIdentity",
    "AWS::SQS::Queue",
    "AWS::Scheduler::Schedule",
    "AWS::SecretsManager::Secret",
    "AWS::StepFunctions::StateMachine",
}

# Names that are for the runtime or the SDK and not for config.rs.
FOREIGN_VARIABLES = {"AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "AWS_ENDPOINT_URL"}

# A variable that names something a function must then also be allowed to use, and the other way round.
NEEDS_ACTION = {
    "TABLE_NAME": "dynamodb:GetItem",
    "METERING_QUEUE_URL": "sqs:SendMessage",
    "MAIL_QUEUE_URL": "sqs:SendMessage",
    "AUDIT_QUEUE_URL": "sqs:SendMessage",
    "BILLING_QUEUE_URL": "sqs:SendMessage",
    "STRIPE_SECRET": "secretsmanager:GetSecretValue",
    "ONBOARDING_MACHINE": "states:StartExecution",
    "AUDIT_KEY_SECRET": "secretsmanager:GetSecretValue",
    "SIGNING_KEYS_SECRET": "secretsmanager:GetSecretValue",
    "VAULT_SECRET": "secretsmanager:GetSecretValue",
    "AUTH_SECRETS_SECRET": "secretsmanager:GetSecretValue",
    "AI_PROVIDERS_SECRET": "secretsmanager:GetSecretValue",
}

LOG_DELIVERY = (
    "CreateLogDelivery", "GetLogDelivery", "UpdateLogDelivery", "DeleteLogDelivery", "ListLogDeliveries",
    "PutResourcePolicy", "DescribeResourcePolicies", "DescribeLogGroups",
)  # fmt: skip

# Resources with a star that are as narrow as they can be.
STARS = [
    ({"xray:PutTraceSegments", "xray:PutTelemetryRecords"}, r"\*"),
    ({"xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets"}, r"\*"),
    # Step Functions has its logs delivered.
    ({"logs:%s" % action for action in LOG_DELIVERY}, r"\*"),
    ({"logs:CreateLogStream", "logs:PutLogEvents"}, r"arn:aws:logs:.*:log-group:/aws/lambda/camarad-\*"),
    ({"dynamodb:ListStreams"}, r"<Table\.Arn>/stream/\*"),
]

# The same where the local services cannot tell one resource from another.
LOCAL_STARS = [({"ses:SendEmail"}, r"\*")]

Stack = Dict[str, Any]
Found = Iterator[str]


def of_type(stack: Stack, kind: str) -> Dict[str, Dict[str, Any]]:
    return {name: r["Properties"] for name, r in stack["Resources"].items() if r["Type"] == kind}


def many(value: Any) -> List[Any]:
    return value if isinstance(value, list) else [value]


def functions(stack: Stack) -> Dict[str, Tuple[str, Dict[str, Any]]]:
    """By short name (`auth`): the logical id and the properties."""
    found = of_type(stack, "AWS::Lambda::Function")
    return {p["FunctionName"].split("-", 1)[1]: (name, p) for name, p in found.items()}


def statements(stack: Stack, role: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Everything a role is told, from its own policies and from the template's managed ones."""
    documents = [policy["PolicyDocument"] for policy in role.get("Policies", [])]
    for arn in role.get("ManagedPolicyArns", []):
        managed = stack["Resources"].get(arn.strip("<>"))
        if managed:
            documents.append(managed["Properties"]["PolicyDocument"])
    return [statement for document in documents for statement in many(document["Statement"])]


def size(stack: Stack, _: str) -> Found:
    if len(stack["Resources"]) >= LIMIT:
        yield "%d resources: %d are the limit" % (len(stack["Resources"]), LIMIT)
    for name in stack["Dangling"]:
        yield "something refers to %s, which does not exist here" % name


def routes(stack: Stack, _: str) -> Found:
    (_, body), = ((n, p["Body"]) for n, p in of_type(stack, "AWS::ApiGateway::RestApi").items())
    known = functions(stack)
    wanted = {(r["method"], r["path"]): (r["function"], r["mode"]) for r in api.live_routes()}
    wanted.update({("OPTIONS", path): (api.PREFLIGHT, "buffered") for _, path in wanted})
    found = {}
    for path, operations in body["paths"].items():
        for method, operation in operations.items():
            integration = operation["x-amazon-apigateway-integration"]
            match = re.search(r":function:camarad-([a-z-]+)/(response-streaming-)?invocations$", integration["uri"])
            stream = integration.get("responseTransferMode") == "STREAM"
            function = match.group(1) if match else "?"
            found[(method.upper(), path)] = (function, "stream" if stream else "buffered")
            if not match or stream != bool(match.group(2)) or stream != (integration.get("timeoutInMillis") == 900000):
                yield "%s %s: address, mode and time-out do not fit each other" % (method, path)
            if function not in known:
                yield "%s %s leads to %s, which does not exist" % (method, path, function)
    for route in sorted(wanted.keys() | found.keys()):
        if wanted.get(route) != found.get(route):
            yield "%s %s: %s in routes.tsv, %s in the template" % (*route, wanted.get(route), found.get(route))
    if len(of_type(stack, "AWS::ApiGateway::Stage")) != 1:
        yield "there is not exactly one stage: SAM makes another one without OpenApiVersion"


def permissions(stack: Stack, _: str) -> Found:
    behind = {r["function"] for r in api.live_routes()} | {api.PREFLIGHT}
    given: Dict[str, int] = {}
    for name, permission in of_type(stack, "AWS::Lambda::Permission").items():
        if permission["Principal"] == "apigateway.amazonaws.com":
            given[permission["FunctionName"]] = given.get(permission["FunctionName"], 0) + 1
            if not re.search(r":<Api>/[a-z0-9]+/\*$", permission.get("SourceArn", "")):
                yield "%s is not limited to one stage of the API" % name
    for short, (name, _properties) in functions(stack).items():
        if given.get("<%s>" % name, 0) != (short in behind):
            yield "%s has %d permissions for the API" % (name, given.get("<%s>" % name, 0))


def denied(told: List[Dict[str, Any]], actions: set, items: List[str]) -> bool:
    """Whether the role is denied these actions on these items."""
    return any(
        s["Effect"] == "Deny"
        and actions <= set(many(s["Action"]))
        and many(s["Resource"]) == ["<Table.Arn>"]
        and set(items) <= set(s.get("Condition", {}).get("ForAnyValue:StringLike", {}).get("dynamodb:LeadingKeys", []))
        for s in told
    )


def confined(told: List[Dict[str, Any]], actions: set) -> bool:
    """Whether all that allows the role these actions names keys that have nothing to do with audit."""
    allowing = [s for s in told if s["Effect"] == "Allow" and actions & set(many(s["Action"]))]
    keys = [s.get("Condition", {}).get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys", ["*"]) for s in allowing]
    return all(re.match(r"(?!AUDIT|SEAL|CHAIN)[A-Z]+#", key) for found in keys for key in found)


def roles(stack: Stack, variant: str) -> Found:
    stars = STARS + (LOCAL_STARS if variant == "local" else [])
    users: Dict[str, List[str]] = {}
    for name, properties in of_type(stack, "AWS::Lambda::Function").items():
        users.setdefault(properties["Role"], []).append(name)
    for role, names in users.items():
        if len(names) > 1:
            yield "%s share the role %s" % (" and ".join(names), role)
    for name, role in of_type(stack, "AWS::IAM::Role").items():
        for arn in role.get("ManagedPolicyArns", []):
            if not arn.startswith("<") and name != "ApiLogsAccountRole":
                yield "%s has the managed policy %s, which is wider than it needs" % (name, arn)
        told = statements(stack, role)
        for statement in told:
            actions = set(many(statement["Action"]))
            if any("*" in action for action in actions):
                yield "%s names actions with a star: %s" % (name, sorted(actions))
            if statement["Effect"] == "Deny":
                continue
            for resource in many(statement["Resource"]):
                narrow = any(actions <= these and re.fullmatch(pattern, resource) for these, pattern in stars)
                if "*" in resource and not narrow:
                    yield "%s may %s on %s" % (name, sorted(actions), resource)
        allowed = {a for s in told if s["Effect"] == "Allow" for a in many(s["Action"])}
        for actions, items, text in DENIED + (DENIED_BUT_SEALER if name != SEALER else []):
            if allowed & TABLE_WRITES & actions and not confined(told, actions) and not denied(told, actions, items):
                yield "%s may write the table and is not denied to %s" % (name, text)
        for statement in told:
            deletes = {a for a in many(statement["Action"]) if re.match("logs:(Delete(?!LogDelivery)|PutRetention)", a)}
            if statement["Effect"] == "Allow" and deletes:
                yield "%s may %s: the sealer's log is where audit chains are anchored" % (name, sorted(deletes))


def environment(stack: Stack, variant: str) -> Found:
    source = (samtools.ROOT / "shared" / "src" / "config.rs").read_text(encoding="utf-8")
    known = set(re.findall(r'\bvar\("([A-Z_]+)"\)', source))
    used = set()
    for short, (name, properties) in functions(stack).items():
        variables = properties["Environment"]["Variables"]
        used |= set(variables)
        for variable in sorted(set(variables) - known - FOREIGN_VARIABLES):
            yield "%s gets %s, which config.rs does not read" % (short, variable)
        if ("AWS_ENDPOINT_URL" in variables) != (variant == "local"):
            yield "%s: AWS_ENDPOINT_URL is for the local services and only for them" % short
        # Whether somebody is an operator depends on who vouches for their address.
        if "PLATFORM_OPERATORS" in variables and "AUTH_PROVIDERS" not in variables:
            yield "%s gets PLATFORM_OPERATORS without AUTH_PROVIDERS" % short
        told = statements(stack, stack["Resources"][properties["Role"][1:-1].split(".")[0]]["Properties"])
        for variable, action in NEEDS_ACTION.items():
            target = re.sub(r"\.Id>$", ">", str(variables.get(variable, ""))).strip("<>")
            may = any(
                s["Effect"] == "Allow" and action in many(s["Action"]) and target and "<%s." % target in str(s["Resource"])
                for s in told
            )
            if variable in variables and not may:
                yield "%s gets %s and may not %s" % (short, variable, action)
        secrets = {n for n in of_type(stack, "AWS::SecretsManager::Secret")}
        for statement in told:
            if "secretsmanager:GetSecretValue" in many(statement["Action"]):
                for secret in secrets:
                    if "<%s." % secret in str(statement["Resource"]) and "<%s.Id>" % secret not in variables.values():
                        yield "%s may read %s and is not told of it" % (short, secret)
    for variable in sorted(known - used):
        yield "config.rs reads %s, which no function gets" % variable


def asynchronous(stack: Stack, _: str) -> Found:
    queues = of_type(stack, "AWS::SQS::Queue")
    by_id = of_type(stack, "AWS::Lambda::Function")
    for name, mapping in of_type(stack, "AWS::Lambda::EventSourceMapping").items():
        if mapping.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield "%s does not report partial failures" % name
        queue = queues.get(mapping["EventSourceArn"].strip("<>").split(".")[0])
        timeout = by_id[mapping["FunctionName"].strip("<>")]["Timeout"]
        if queue and queue["VisibilityTimeout"] < 6 * timeout:
            yield "%s: the queue's visibility time-out is less than six times the function's" % name
        if queue and "RedrivePolicy" not in queue:
            yield "%s: its queue has no dead letters" % name
        if not queue and "OnFailure" not in str(mapping.get("DestinationConfig")):
            yield "%s has no destination for failures" % name


def kept(stack: Stack, variant: str) -> Found:
    (_, table), = of_type(stack, "AWS::DynamoDB::Table").items()
    if not table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]:
        yield "the table has no point-in-time recovery"
    if variant != "local" and not table["DeletionProtectionEnabled"]:
        yield "the table is not protected from deletion"
    if stack["Resources"]["Table"]["DeletionPolicy"] != "RetainExceptOnCreate":
        yield "the table would go with the stack"
    anchors = stack["Resources"]["AuditSealerLogs"]
    if anchors.get("DeletionPolicy") != "RetainExceptOnCreate" or anchors["Properties"].get("RetentionInDays", 0) < 2555:
        yield "the anchors of audit chains go before the records do"
    groups = {"<%s>" % name for name in of_type(stack, "AWS::Logs::LogGroup")}
    for name, properties in of_type(stack, "AWS::Lambda::Function").items():
        if properties.get("LoggingConfig", {}).get("LogGroup") not in groups:
            yield "%s has no log group of its own, so its logs are kept forever" % name


def local_types(stack: Stack, variant: str) -> Found:
    if variant == "local":
        for name, resource in stack["Resources"].items():
            if resource["Type"] not in LOCAL_TYPES:
                yield "%s (%s) is not known to exist locally: give it the condition Cloud" % (name, resource["Type"])
    elif variant == "cloud" and not of_type(stack, "AWS::WAFv2::WebACLAssociation"):
        yield "the firewall is not in front of the API"


# What the functions put on every answer (http/edge.rs), and what a busy API must say.
SECURED = ("Cache-Control", "Strict-Transport-Security", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy",
           "Content-Security-Policy")  # fmt: skip
BUSY = ("THROTTLED", "QUOTA_EXCEEDED", "INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT")


def gateway(stack: Stack, _: str) -> Found:
    """What API Gateway answers by itself is as closed as what the functions answer."""
    for api in of_type(stack, "AWS::ApiGateway::RestApi").values():
        for kind, answer in api["Body"]["x-amazon-apigateway-gateway-responses"].items():
            headers = {name.rsplit(".", 1)[1]: value for name, value in answer["responseParameters"].items()}
            origin = headers.get("Access-Control-Allow-Origin", "")
            if not re.fullmatch(r"'https?://[^*']+'", origin):
                yield "%s lets %s read it" % (kind, origin or "nobody")
            for name in SECURED + (("Retry-After",) if kind in BUSY else ()):
                if not re.fullmatch("'[^']+'", headers.get(name, "")):
                    yield "%s has no %s" % (kind, name)
            told = json.loads(answer["responseTemplates"]["application/json"])["status"]
            if kind not in ("DEFAULT_4XX", "DEFAULT_5XX") and str(told) != answer.get("statusCode"):
                yield "%s says %s and is %s" % (kind, told, answer.get("statusCode"))


TEXTS = ["/api/agents/agt_1/chat", "/api/agents/agt_1/stream", "/api/billing/webhook"]
LARGE = TEXTS + ["/api/usage/record"]
MANAGED = {"AWSManagedRulesCommonRuleSet", "AWSManagedRulesSQLiRuleSet", "AWSManagedRulesKnownBadInputsRuleSet"}


def within(value: Any, name: str) -> Iterator[Any]:
    """Every value of this name, however deep."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else []):
        if key == name:
            yield inner
        yield from within(inner, name)


def spares(rule: Dict[str, Any], paths: List[str]) -> bool:
    """Whether the rule says of each of these paths that it is not meant."""
    kept = [r["RegexString"] for out in within(rule, "NotStatement") for r in within(out, "RegexMatchStatement")]
    return all(any(re.search(pattern, path) for pattern in kept) for path in paths)


def firewall(stack: Stack, _: str) -> Found:
    for acl in of_type(stack, "AWS::WAFv2::WebACL").values():
        rules = {rule["Name"]: rule for rule in acl["Rules"]}
        if len({rule["Priority"] for rule in rules.values()}) != len(acl["Rules"]):
            yield "two rules have one name or place"
        for name, rule in rules.items():
            for header in within(rule, "ResponseHeaders"):
                origins = [h["Value"] for h in header if h["Name"] == "Access-Control-Allow-Origin"]
                if origins != [o for o in origins if re.fullmatch(r"https?://[^*]+", o)] or not origins:
                    yield "the answer of %s can be read by %s" % (name, origins)
            for match in within(rule, "RegexMatchStatement"):
                if [t["Type"] for t in match["TextTransformations"]] != ["URL_DECODE", "NORMALIZE_PATH"]:
                    yield "%s does not see encoded paths" % name
        if not spares(rules["body-size"], LARGE) or spares(rules["body-size"], ["/api/user"]):
            yield "body-size blocks what may be large, or nothing"
        if not spares(rules["bodies"], LARGE) or spares(rules["bodies"], ["/api/user"]):
            yield "bodies blocks what people or Stripe wrote, or nothing"
        if not spares(rules["public-rate"], ["/api/auth/refresh", "/api/auth/session"]) or spares(
            rules["public-rate"], ["/api/auth/magic-link", "/api/auth/local/callback"]
        ):
            yield "public-rate counts what browsers do by themselves, or not what people do"
        groups = {g["Name"]: g for rule in rules.values() for g in within(rule, "ManagedRuleGroupStatement")}
        if not MANAGED <= set(groups):
            yield "managed rules are missing: %s" % ", ".join(sorted(MANAGED - set(groups)))
        judged = {label["Key"].rsplit(":", 1)[1].upper() for label in within(rules["bodies"], "LabelMatchStatement")}
        for name in MANAGED & set(groups):
            counted = {o["Name"].upper() for o in groups[name]["RuleActionOverrides"] if "Count" in o["ActionToUse"]}
            bodies = {rule for rule in counted if rule.endswith("_BODY") and not rule.startswith("SIZE")}
            if not bodies or bodies - judged:
                yield "%s blocks bodies by itself, or what it says of them is not judged" % name


RULES: List[Callable[[Stack, str], Found]] = [
    size, routes, permissions, roles, environment, asynchronous, kept, local_types, gateway, firewall,
]  # fmt: skip


def problems(template: Dict[str, Any]) -> List[str]:
    """What is wrong with a transformed template, in any variant."""
    found = []
    for variant, given in VARIANTS.items():
        stack = samtools.resolved(template, given)
        found += ["%s (%s): %s" % (rule.__name__, variant, text) for rule in RULES for text in rule(stack, variant)]
    return found


def main() -> None:
    samtools.use_sams_python()
    template = samtools.transformed(samtools.read_template())
    found = problems(template)
    # A rule that finds nothing may be blind: each must see the damage made for it.
    from check_template_damage import DAMAGE

    for rule, text, damage in DAMAGE:
        broken = copy.deepcopy(template)
        damage(broken["Resources"])
        if not any(problem.startswith(rule + " (") for problem in problems(broken)):
            found.append("the rule %s does not see this damage: %s" % (rule, text))
    for rule in {rule.__name__ for rule in RULES} - {rule for rule, _, _ in DAMAGE}:
        found.append("the rule %s has no damage to prove that it sees" % rule)
    if found:
        sys.exit("\n".join(["template.yaml:", *("  " + text for text in found)]))
    print("template.yaml: %d resources, %d rules, %d kinds of damage seen" % (len(template["Resources"]), len(RULES), len(DAMAGE)))


if __name__ == "__main__":
    main()
