//! Wiring only.

fn main() -> camarad::lambda::Outcome {
    camarad::lambda::start(
        |env| Ok(env.workflow()),
        |app| camarad::lambda::http::buffered(onboarding::router(), app),
    )
}
