//! Wiring only.

fn main() -> camarad::lambda::Outcome {
    camarad::lambda::start(Ok, |app| {
        camarad::lambda::http::mixed(ledger::router(), app, ledger::streams)
    })
}
