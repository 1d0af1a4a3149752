"""The official Python SDK drives the peer: `python official.py http://127.0.0.1:PORT`. Run by official.test.mjs."""
import sys

import stripe

DAY = 86_400
START = 1_770_000_000


def main(base: str) -> None:
    client = stripe.StripeClient("sk_test_python", base_addresses={"api": base}, max_network_retries=0)
    v1 = client.v1
    price = v1.prices.create({"currency": "usd", "unit_amount": 1200, "recurring": {"interval": "month"}, "product_data": {"name": "Personal"}, "lookup_key": "camarad_personal_monthly"})
    clock = v1.test_helpers.test_clocks.create({"frozen_time": START})
    customer = v1.customers.create({"email": "ada@example.com", "test_clock": clock.id})
    card = v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    endpoint = v1.webhook_endpoints.create({"url": "http://127.0.0.1:9/", "enabled_events": ["*"]})
    subscription = v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price.id}], "trial_period_days": 15, "default_payment_method": card.id}
    )
    assert subscription.status == "trialing", subscription.status
    v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": START + 16 * DAY})
    subscription = v1.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
    assert (subscription.status, subscription.latest_invoice.amount_paid) == ("active", 1200)
    found = v1.prices.list({"lookup_keys": ["camarad_personal_monthly"]})
    assert [entry.id for entry in found.data] == [price.id]
    types = [event.type for event in v1.events.list({"limit": 100}).auto_paging_iter()]
    assert types.count("invoice.paid") == 2, types
    try:
        v1.customers.create({"nickname": "x"})
    except stripe.InvalidRequestError as error:
        assert (error.code, error.param) == ("parameter_unknown", "nickname")
    else:
        raise AssertionError("an unknown parameter was taken")
    assert endpoint.secret.startswith("whsec_")
    print("version %s" % stripe.api_version)


if __name__ == "__main__":
    main(sys.argv[1])
