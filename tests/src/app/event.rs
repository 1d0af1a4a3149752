//! API Gateway's REST (v1) events.

use std::collections::HashMap;

use serde_json::{Value, json};

/// The event of one request. `ip` is where API Gateway saw it come from.
pub fn rest(
    method: &str,
    path: &str,
    query: &str,
    headers: &HashMap<String, String>,
    ip: &str,
    body: Option<&str>,
) -> Value {
    let mut multi: HashMap<String, Vec<String>> = HashMap::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        multi
            .entry(name.into_owned())
            .or_default()
            .push(value.into_owned());
    }
    let single: HashMap<_, _> = multi
        .iter()
        .map(|(n, v)| (n.clone(), v.last().cloned()))
        .collect();
    let many: HashMap<_, _> = headers
        .iter()
        .map(|(n, v)| (n.clone(), vec![v.clone()]))
        .collect();
    // lambda_http puts the name of any other stage in front of the path, unless the environment says no, as it does in the
    // deployed functions.
    json!({
        "resource": "/{proxy+}", "path": path, "httpMethod": method,
        "headers": headers, "multiValueHeaders": many,
        "queryStringParameters": single, "multiValueQueryStringParameters": multi,
        "pathParameters": null, "stageVariables": null,
        "requestContext": {
            "resourceId": "r", "resourcePath": "/{proxy+}", "httpMethod": method, "path": path,
            "accountId": "123456789012", "apiId": "api", "stage": "$default", "protocol": "HTTP/1.1",
            "requestId": format!("req-{}", camarad::random::below(u64::MAX)),
            "identity": {"sourceIp": ip, "userAgent": "tests"},
        },
        "body": body, "isBase64Encoded": false,
    })
}
