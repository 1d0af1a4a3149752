//! Wiring only.

fn main() -> camarad::lambda::Outcome {
    camarad::lambda::start(
        |env| env.secrets().web(),
        |app| camarad::lambda::batch::queue(app, billing_consumer::handle),
    )
}
