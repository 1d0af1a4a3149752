//! Wiring only.

fn main() -> camarad::lambda::Outcome {
    camarad::lambda::start(Ok, |app| {
        camarad::lambda::http::mixed(audit::router(), app, audit::streams)
    })
}
