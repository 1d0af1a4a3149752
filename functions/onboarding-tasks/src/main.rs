//! Wiring only.

fn main() -> camarad::lambda::Outcome {
    camarad::lambda::start(
        |env| env.secrets().web(),
        |app| camarad::lambda::task::serve(app, onboarding_tasks::handle),
    )
}
