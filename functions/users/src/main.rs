//! Wiring only.

fn main() -> camarad::lambda::Outcome {
    camarad::lambda::start(
        |env| env.secrets().web(),
        |app| camarad::lambda::http::mixed(users::router(), app, users::streams),
    )
}
