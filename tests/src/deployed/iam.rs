//! Roles, as an administrator would change them.

use serde_json::json;

use super::Deployed;
use crate::visitor::http;

const POLICY: &str = "denied-by-a-test";

impl Deployed {
    /// Takes an action away from a function's role, until [`Deployed::allow_again`].
    pub async fn deny(&self, function: &str, action: &str) {
        let statement = json!({"Effect": "Deny", "Action": [action], "Resource": "*"});
        let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        let more = [("PolicyDocument", policy.as_str())];
        self.role_policy("PutRolePolicy", function, &more).await;
    }

    /// Gives back what [`Deployed::deny`] took.
    pub async fn allow_again(&self, function: &str) {
        self.role_policy("DeleteRolePolicy", function, &[]).await;
    }

    async fn role_policy(&self, action: &str, function: &str, more: &[(&str, &str)]) {
        let role = self.role(function).await;
        let mut form = vec![
            ("Action", action),
            ("Version", "2010-05-08"),
            ("RoleName", role.as_str()),
        ];
        form.push(("PolicyName", POLICY));
        form.extend_from_slice(more);
        let request = http()
            .post(self.endpoint())
            .header("authorization", super::signed("iam"));
        let answer = request.form(&form).send().await.expect("IAM answers");
        let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
        assert!(status.is_success(), "{action}: {status} {body}");
    }

    /// The name of a function's role.
    async fn role(&self, function: &str) -> String {
        let (_, answer) = self.configuration(function).await;
        let arn = answer["Role"]
            .as_str()
            .unwrap_or_else(|| panic!("{function} has no role: {answer}"));
        arn.rsplit('/').next().unwrap_or(arn).to_owned()
    }
}
