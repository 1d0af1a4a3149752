//! Wiring only.

fn main() -> camarad::lambda::Outcome {
    camarad::lambda::start(Ok, |app| {
        camarad::lambda::http::mixed(usage::router(), app, usage::streams)
    })
}
