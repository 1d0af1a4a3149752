//! Wiring only.

fn main() -> camarad::lambda::Outcome {
    camarad::lambda::start(
        |env| Ok(env.secrets()),
        |app| camarad::lambda::batch::queue(app, audit_sealer::handle),
    )
}
