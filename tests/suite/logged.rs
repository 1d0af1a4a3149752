//! What is logged while a story is told.

use std::io;
use std::sync::{Arc, Mutex};

use camarad::lambda::log;
use tracing::subscriber::DefaultGuard;

/// The lines of a log.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// What this thread logs from now on, as a function of a stack with that table logs it.
    pub fn listen(table: Option<String>) -> (Self, DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let filter = tracing_subscriber::EnvFilter::new("info");
        let logs = log::subscriber(filter, table, move || writer.clone());
        let guard = tracing::subscriber::set_default(logs);
        // What another test logged first, while nobody listened to it, would stay silent here.
        tracing::callsite::rebuild_interest_cache();
        (lines, guard)
    }

    /// What was logged so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}
