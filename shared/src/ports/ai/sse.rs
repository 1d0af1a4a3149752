//! Server-sent events (WHATWG HTML §9.2) of bounded size, read with a time-out between pieces.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use eventsource_stream::{EventStreamError, Eventsource};
use futures_util::{Stream, StreamExt};

use super::{Cut, Event, Events};

/// The largest event that is read; real ones have a few hundred bytes.
pub(super) const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// Whether more is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    GoOn,
    End,
}

/// Reads the data of one event of a provider.
pub(super) type Read = fn(&str, &mut VecDeque<Event>) -> Result<Flow, Cut>;

/// Counts the bytes of the event that is under way, so that no event without an end fills the memory.
#[derive(Debug, Default)]
struct EventSize {
    event: usize,
    line: usize,
    after_cr: bool,
}

impl EventSize {
    /// Takes in more bytes; false when an event is beyond the bound.
    fn take(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            self.event += 1;
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    if self.line == 0 {
                        self.event = 0;
                    }
                    self.line = 0;
                    self.after_cr = *byte == b'\r';
                }
                _ => {
                    self.line += 1;
                    self.after_cr = false;
                }
            }
            if self.event > MAX_EVENT_BYTES {
                return false;
            }
        }
        true
    }
}

fn bounded<S, E>(bytes: S) -> impl Stream<Item = Result<Bytes, Cut>> + Send
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: Send,
{
    let mut size = EventSize::default();
    bytes.map(move |piece| match piece {
        Ok(bytes) if size.take(&bytes) => Ok(bytes),
        Ok(_) => Err(Cut::TooLarge),
        Err(_) => Err(Cut::Broken),
    })
}

/// A body that says nothing for `gap` has stalled.
fn impatient<S>(bytes: S, gap: Duration) -> impl Stream<Item = Result<Bytes, Cut>> + Send
where
    S: Stream<Item = Result<Bytes, Cut>> + Send,
{
    futures_util::stream::unfold(Box::pin(bytes), move |mut bytes| async move {
        let next = tokio::time::timeout(gap, bytes.next())
            .await
            .unwrap_or(Some(Err(Cut::Stalled)));
        next.map(|piece| (piece, bytes))
    })
}

fn cut(error: EventStreamError<Cut>) -> Cut {
    match error {
        EventStreamError::Transport(cut) => cut,
        EventStreamError::Utf8(_) | EventStreamError::Parser(_) => Cut::Malformed,
    }
}

struct Reader<S> {
    source: S,
    read: Read,
    ready: VecDeque<Event>,
    finished: bool,
    over: bool,
    cut: Option<Cut>,
}

impl<S> Reader<S>
where
    S: Stream<Item = Result<eventsource_stream::Event, EventStreamError<Cut>>> + Unpin,
{
    async fn next(&mut self) -> Option<Result<Event, Cut>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.finished |= matches!(event, Event::Finish(_));
                return Some(Ok(event));
            }
            if self.over {
                // After its finish the answer was whole; only what it cost got lost.
                return self.cut.take().filter(|_| !self.finished).map(Err);
            }
            match self.advance().await {
                Ok(flow) => self.over = flow == Flow::End,
                Err(cut) => (self.over, self.cut) = (true, Some(cut)),
            }
        }
    }

    async fn advance(&mut self) -> Result<Flow, Cut> {
        match self.source.next().await {
            None => Err(Cut::Early),
            Some(Err(error)) => Err(cut(error)),
            Some(Ok(event)) => (self.read)(&event.data, &mut self.ready),
        }
    }
}

/// The events of a provider's body. A body that breaks after its finish is a whole answer without its usage.
pub(super) fn events<S, E>(body: S, read: Read, gap: Duration) -> Events
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Send + 'static,
{
    let source = Box::pin(impatient(bounded(body), gap).eventsource());
    let reader = Reader {
        source,
        read,
        ready: VecDeque::new(),
        finished: false,
        over: false,
        cut: None,
    };
    Box::pin(futures_util::stream::unfold(reader, |mut reader| async move {
        reader.next().await.map(|event| (event, reader))
    }))
}

/// Helpers of the parsers' tests.
#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// Everything that a body in these pieces gives.
    pub(in super::super) fn collect(pieces: Vec<Vec<u8>>, read: Read) -> Vec<Result<Event, Cut>> {
        let body = futures_util::stream::iter(pieces.into_iter().map(|p| Ok::<_, Cut>(Bytes::from(p))));
        let events = events(body, read, Duration::from_secs(5));
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(events.collect())
    }

    /// The same with adjoining texts joined, as where they are cut says nothing.
    pub(in super::super) fn joined(events: Vec<Result<Event, Cut>>) -> Vec<Result<Event, Cut>> {
        let mut out: Vec<Result<Event, Cut>> = Vec::new();
        for event in events {
            match (out.last_mut(), event) {
                (Some(Ok(Event::Text(before))), Ok(Event::Text(more))) => before.push_str(&more),
                (_, event) => out.push(event),
            }
        }
        out
    }

    /// `body` cut in two at every byte, and each byte by itself.
    pub(in super::super) fn every_cut(body: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let mut all: Vec<_> = (0..=body.len())
            .map(|at| vec![body[..at].to_vec(), body[at..].to_vec()])
            .collect();
        all.push(body.iter().map(|b| vec![*b]).collect());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::testing::collect;
    use super::*;

    fn echo(data: &str, out: &mut VecDeque<Event>) -> Result<Flow, Cut> {
        out.push_back(Event::Text(data.to_owned()));
        Ok(Flow::GoOn)
    }

    #[test]
    fn an_event_without_an_end_is_too_large() {
        let pieces = vec![b"data: ".to_vec(), vec![b'x'; MAX_EVENT_BYTES], b"\n\n".to_vec()];
        assert_eq!(collect(pieces, echo), [Err(Cut::TooLarge)]);
    }

    #[test]
    fn many_small_events_are_never_too_large() {
        let one = format!("data: {}\r\n\r\n", "x".repeat(1000)).into_bytes();
        let events = collect(vec![one; 3000], echo);
        assert_eq!(events.len(), 3001);
        assert_eq!(events.last(), Some(&Err(Cut::Early)));
    }

    #[test]
    fn bytes_that_are_no_utf8_are_malformed() {
        assert_eq!(
            collect(vec![b"data: \xff\xfe\n\n".to_vec()], echo),
            [Err(Cut::Malformed)]
        );
    }

    #[test]
    fn silence_is_a_stall_and_a_broken_body_is_broken() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let silent = futures_util::stream::pending::<Result<Bytes, Cut>>();
        let stalled: Vec<_> = runtime.block_on(events(silent, echo, Duration::from_millis(5)).collect());
        assert_eq!(stalled, [Err(Cut::Stalled)]);
        let broken = futures_util::stream::iter([Ok(Bytes::from("data: a\n\n")), Err(())]);
        let broken: Vec<_> = runtime.block_on(events(broken, echo, Duration::from_secs(1)).collect());
        assert_eq!(broken, [Ok(Event::Text("a".into())), Err(Cut::Broken)]);
    }
}
