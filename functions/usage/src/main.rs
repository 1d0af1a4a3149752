//! Wiring only.

fn main() -> camarad::lambda::Outcome {
    camarad::lambda::start(
        |env| Ok(env.queue()),
        |app| camarad::lambda::http::mixed(usage::router(), app, usage::streams),
    )
}
