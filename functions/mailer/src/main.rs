//! Wiring only.

fn main() -> camarad::lambda::Outcome {
    camarad::lambda::start(
        |env| Ok(env.mail()),
        |app| camarad::lambda::batch::queue(app, mailer::handle),
    )
}
