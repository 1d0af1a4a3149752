//! Stripe, as the deployed stack has it: with our prices, and a webhook that leads to the deployed function.

use camarad::domain::plans::catalogue;
use serde_json::json;

use super::Deployed;
use crate::peers::stripe::{GOOD_CARD, StripeAccount};

impl Deployed {
    /// What `make stripe-setup` does, and the key and the webhook's secret in Secrets Manager.
    pub(super) async fn furnish_stripe(&self) {
        let prices = catalogue();
        for (kind, monthly) in [("plans", true), ("topUps", false)] {
            for price in prices[kind].as_array().expect("prices") {
                let (key, cents) = (price["lookupKey"].as_str(), price["priceCents"].as_i64());
                let (key, cents) = (key.expect("a key"), cents.expect("a price"));
                self.stripe
                    .price(key, cents, monthly)
                    .await
                    .expect("a price is made");
            }
        }
        let portal = [
            ("features[payment_method_update][enabled]", "true"),
            ("metadata[camarad]", "as in stories"),
        ];
        self.stripe
            .post("/v1/billing_portal/configurations", &portal)
            .await
            .expect("the portal is arranged");
        let webhook = format!("{}/api/billing/webhook", self.output("DeployedUrl"));
        let secret = self
            .stripe
            .endpoint(Some(&webhook))
            .await
            .expect("a webhook is registered");
        let keys = json!({"secretKey": self.stripe.secret_key, "webhookSecrets": [secret]});
        self.put_secret(self.output("StripeSecret"), &keys).await;
    }

    /// Stripe, with connections that belong to the test that asks.
    pub fn stripe(&self) -> StripeAccount {
        self.stripe.again().expect("an HTTP client")
    }

    /// Somebody enters a good card on a page of Stripe's.
    pub async fn pay(&self, page: &str) {
        self.stripe()
            .pay(page, GOOD_CARD)
            .await
            .expect("the card is taken");
    }
}
