//! Wiring only.

fn main() -> camarad::lambda::Outcome {
    camarad::lambda::start(
        |env| env.secrets().web(),
        |app| camarad::lambda::http::buffered(billing::router(), app),
    )
}
