//! How fast one server may talk: a server that floods costs itself its time, and nobody else theirs.
//!
//! What is read in one go is handled in one go, and each notification becomes a task of the SDK's. Without this two
//! servers that notify without end keep both threads of the runtime busy, and every other run waits for its turn.

use std::time::Duration;

use wrasse_scope::clock::{self, BootInstant};

/// After so many messages everybody else has a turn.
const TURN: u32 = 32;
/// So many notifications and requests of its own are read of a server in each [`WINDOW`]. What comes then waits in its
/// pipe, and so does the server.
const UNASKED_MAX: u32 = 2_000;
const WINDOW: Duration = Duration::from_secs(1);

/// One server's pace.
#[derive(Debug)]
pub(super) struct Pace {
    since_turn: u32,
    window: BootInstant,
    unasked: u32,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { since_turn: 0, window: clock::now(), unasked: 0 }
    }

    /// Notes a message; answers to calls are as many as we asked for, and count for a turn only.
    pub(super) fn note(&mut self, asked: Asked) {
        self.since_turn += 1;
        if asked == Asked::No {
            if clock::now().since(self.window) >= WINDOW {
                (self.window, self.unasked) = (clock::now(), 0);
            }
            self.unasked += 1;
        }
    }

    /// Waits until the next message may be taken. Cancel-safe: whoever asks again waits for what is left.
    pub(super) async fn wait(&mut self) {
        if self.unasked >= UNASKED_MAX {
            clock::sleep_until(self.window + WINDOW).await;
            self.unasked = 0;
        }
        if self.since_turn >= TURN {
            self.since_turn = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Whether a message is an answer to one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use rmcp::transport::Transport as _;
    use tokio::io::{AsyncRead, ReadBuf};
    use wrasse_scope::clock;

    use super::super::{Wire, WireState, Writer};
    use super::{TURN, UNASKED_MAX, WINDOW};

    const LINE: &[u8] = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"x\"}}\n";

    /// Notifies without end, and always has more.
    struct Flood;

    impl AsyncRead for Flood {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            space: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            while space.remaining() >= LINE.len() {
                space.put_slice(LINE);
            }
            Poll::Ready(Ok(()))
        }
    }

    fn flood() -> Wire<Flood> {
        let state = Arc::new(WireState::default());
        Wire::new("flood".to_owned(), Flood, Writer::new(tokio::io::sink()), state)
    }

    /// guarantee G6: others have their turn while a server floods.
    #[tokio::test]
    async fn a_flood_leaves_turns_to_others() {
        let mut wire = flood();
        let mut turns = 0_u32;
        let flood = async {
            for _ in 0..UNASKED_MAX {
                assert!(wire.receive().await.is_some());
            }
        };
        tokio::select! {
            biased;
            () = flood => {}
            () = async { loop { turns += 1; tokio::task::yield_now().await; } } => {}
        }
        assert!(turns >= UNASKED_MAX / TURN - 1, "{turns}");
    }

    /// What comes too fast waits, and comes in the end.
    #[tokio::test]
    async fn a_flood_is_read_no_faster_than_may_be() {
        let mut wire = flood();
        let (began, mut read) = (clock::now(), 0_u32);
        while clock::now().since(began) < 2 * WINDOW + Duration::from_millis(100) {
            let next = clock::timeout(2 * WINDOW, wire.receive()).await;
            assert!(matches!(next, Ok(Some(_))), "the flood dried up");
            read += 1;
        }
        assert!(read <= 4 * UNASKED_MAX, "{read} in two seconds");
    }
}
