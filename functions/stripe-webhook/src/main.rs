//! Wiring only.

fn main() -> camarad::lambda::Outcome {
    camarad::lambda::start(
        |env| Ok(env.secrets().queue()),
        |app| camarad::lambda::http::buffered(stripe_webhook::router(), app),
    )
}
