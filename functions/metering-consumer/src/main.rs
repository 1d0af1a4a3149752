//! Wiring only.

fn main() -> camarad::lambda::Outcome {
    camarad::lambda::start(Ok, |app| {
        camarad::lambda::batch::queue(app, metering_consumer::handle)
    })
}
