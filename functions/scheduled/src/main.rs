//! Wiring only.

fn main() -> camarad::lambda::Outcome {
    camarad::lambda::start(
        |env| env.secrets().queue().web(),
        |app| camarad::lambda::batch::scheduled(app, scheduled::handle),
    )
}
