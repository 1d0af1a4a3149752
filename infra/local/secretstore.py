"""Puts secrets into the local Secrets Manager over its wire protocol, so that no AWS client has to be loaded."""
from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Mapping

from console import Failure

# The local services read only the access key out of a signature: it names the account.
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=0"
)


def put_secret(endpoint: str, secret: str, value: Mapping[str, object]) -> None:
    body = {"SecretId": secret, "SecretString": json.dumps(value)}
    request = urllib.request.Request(
        endpoint + "/",
        data=json.dumps(body).encode(),
        headers={
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "secretsmanager.PutSecretValue",
            "Authorization": AUTHORIZATION,
        },
    )
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10):
            return
    except urllib.error.HTTPError as error:
        answer = error.read().decode("utf-8", "replace")
        raise Failure("The secret %s could not be stored: %s" % (secret, answer)) from error
    except OSError as error:
        raise Failure("The secret %s could not be stored: %s" % (secret, error)) from error
