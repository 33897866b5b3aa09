//! One guardian, as the gateway holds it: its socket, its pidfd, what is known, what it owes us.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::watch;
use wrasse_guard::protocol::{EVENT_MAX, Event, Order, SPEC_FDS, SPEC_HEADER};

use crate::accounts::Past;
use crate::cgroup::Leaf;
use crate::owed::Owed;
use crate::view::View;
use crate::{Limits, ProcessIdentity, process};

/// How the kernel ends a process when memory runs out.
const KILLED: i32 = 9;

/// Whether an order reached the guardian's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is in the socket.
    Yes,
    /// The socket is full; try again when it is writable.
    Later,
    /// The guardian has closed its end.
    HungUp,
}

/// A guardian that has been spawned.
#[derive(Debug)]
pub(crate) struct Guardian {
    pub(crate) name: String,
    pub(crate) identity: ProcessIdentity,
    /// The containment that started it.
    pub(crate) owner: u64,
    /// What its tree may use.
    pub(crate) limits: Limits,
    past: Mutex<Past>,
    leaf: Mutex<Option<Leaf>>,
    socket: OwnedFd,
    /// `None` where the kernel refuses them: then its death shows in the socket alone.
    pidfd: Option<OwnedFd>,
    hung_up: AtomicBool,
    told_to_go: AtomicBool,
    condemned: AtomicBool,
    owed: Mutex<Owed>,
    view: watch::Sender<View>,
}

impl Guardian {
    pub(crate) fn new(
        name: String,
        identity: ProcessIdentity,
        owner: u64,
        limits: Limits,
        socket: OwnedFd,
        pidfd: Option<OwnedFd>,
    ) -> Self {
        Self {
            name,
            identity,
            owner,
            limits,
            past: Mutex::default(),
            leaf: Mutex::default(),
            socket,
            pidfd,
            hung_up: AtomicBool::new(false),
            told_to_go: AtomicBool::new(false),
            condemned: AtomicBool::new(false),
            owed: Mutex::default(),
            view: watch::Sender::new(View::default()),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.identity.pid
    }

    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(OwnedFd::as_fd)
    }

    /// Its end of the socket is closed, and nothing but that tells of its death.
    pub(crate) fn is_dying_unwatched(&self) -> bool {
        self.pidfd.is_none() && self.hung_up.load(Ordering::Acquire)
    }

    /// The socket, while there may be something to read from it.
    pub(crate) fn readable_socket(&self) -> Option<BorrowedFd<'_>> {
        (!self.hung_up.load(Ordering::Acquire)).then(|| self.socket.as_fd())
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut View)) {
        self.view.send_modify(change);
    }

    fn leaf(&self) -> MutexGuard<'_, Option<Leaf>> {
        self.leaf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the leaf of its tree for as long as there is the tree.
    pub(crate) fn keep(&self, leaf: Option<Leaf>) {
        *self.leaf() = leaf;
    }

    /// Its tree has lost it: kills what is in the leaf.
    pub(crate) fn kill_leaf(&self) {
        if let Some(leaf) = &*self.leaf() {
            leaf.kill();
        }
    }

    /// Whether nobody is left in its leaf, if it has one.
    pub(crate) fn leaf_is_cleared(&self) -> bool {
        self.leaf().as_ref().is_none_or(Leaf::is_cleared)
    }

    /// Its tree is gone, and the leaf with it.
    pub(crate) fn close_leaf(&self) {
        if let Some(leaf) = self.leaf().take() {
            leaf.close();
        }
    }

    pub(crate) fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn told_to_go(&self) -> bool {
        self.told_to_go.load(Ordering::Acquire)
    }

    /// Sends one packet of the spec; the first carries the server's descriptors.
    pub(crate) fn send_spec(
        &self,
        order: &Order<'_>,
        fds: Option<[BorrowedFd<'_>; SPEC_FDS]>,
    ) -> Sent {
        let mut head = [0; SPEC_HEADER];
        let len = order.encode_head(&mut head);
        let bytes = match order {
            Order::Spec { bytes, .. } => bytes,
            Order::Go | Order::Term | Order::Kill | Order::Ping => &[][..],
        };
        let parts = [IoSlice::new(&head[..len]), IoSlice::new(bytes)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SPEC_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if let Some(fds) = &fds {
            let fits = control.push(SendAncillaryMessage::ScmRights(fds));
            debug_assert!(fits, "the space is made for exactly these descriptors");
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let result = rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&self.socket, &parts, &mut control, flags)
        });
        match result {
            Ok(_) => Sent::Yes,
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => Sent::Later,
            Err(_) => Sent::HungUp,
        }
    }

    /// Gives an order that never waits. Whether the guardian got it shows in what it answers: from now on
    /// it owes an answer, and the watcher kills it when none comes.
    pub(crate) fn order(&self, order: &Order<'_>) {
        let now = Instant::now();
        let kill = matches!(order, Order::Kill);
        if matches!(order, Order::Go) {
            self.told_to_go.store(true, Ordering::Release);
        }
        {
            let mut owed = self.owed();
            if kill {
                owed.ask_to_kill(now);
            } else {
                owed.ask(now);
            }
        }
        // Only a ping is answered at once, so one precedes whatever else is ordered: it tells a guardian
        // that is busy ending a large tree from one that does not run at all.
        let ping = Sent::Yes == self.send_spec(&Order::Ping, None);
        let told = matches!(order, Order::Ping) || self.send_spec(order, None) == Sent::Yes;
        if kill && !told {
            // The end of the stream is an order to kill by itself, and needs no room in the socket. Not
            // otherwise: a guardian that sees it takes us for gone and tells us nothing more.
            self.hang_up_sending();
        }
        if !(ping && told) {
            tracing::debug!(guardian = self.pid(), ?order, "the guardian's socket took no order");
        }
    }

    fn hang_up_sending(&self) {
        if let Err(errno) = rustix::net::shutdown(&self.socket, Shutdown::Write) {
            tracing::debug!(guardian = self.pid(), %errno, "shutdown of the guardian's socket");
        }
    }

    /// Reads every event that has arrived.
    pub(crate) fn receive(&self) {
        let mut buffer = [0_u8; EVENT_MAX];
        loop {
            match rustix::net::recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    self.hung_up.store(true, Ordering::Release);
                    return;
                }
                Ok((len, _)) => self.take_in(&buffer[..len]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(errno) => {
                    tracing::debug!(guardian = self.pid(), %errno, "the guardian's socket failed");
                    self.hung_up.store(true, Ordering::Release);
                    return;
                }
            }
        }
    }

    fn take_in(&self, packet: &[u8]) {
        let event = match Event::decode(packet) {
            Ok(event) => event,
            Err(fault) => {
                tracing::warn!(guardian = self.pid(), %fault, "the guardian sent nonsense");
                return;
            }
        };
        {
            let mut owed = self.owed();
            owed.answered();
            match event {
                Event::Stuck { .. } | Event::Empty { .. } => owed.told_of_its_tree(),
                Event::Ready { .. }
                | Event::Refused { .. }
                | Event::Started { .. }
                | Event::Failed { .. }
                | Event::Exited { .. }
                | Event::Unlike { .. }
                | Event::Pong => {}
            }
        }
        // Before the exit is told, so that whoever hears of it hears why.
        let excess = match event {
            Event::Exited { status } if status & 0x7f == KILLED => {
                self.leaf().as_ref().and_then(Leaf::excess)
            }
            Event::Ready { .. }
            | Event::Refused { .. }
            | Event::Started { .. }
            | Event::Failed { .. }
            | Event::Exited { .. }
            | Event::Stuck { .. }
            | Event::Empty { .. }
            | Event::Unlike { .. }
            | Event::Pong => None,
        };
        self.update(|view| {
            view.excess = view.excess.or(excess);
            view.apply(event);
        });
    }

    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When to ask next whether it [is lost](Self::is_lost), unless it answers before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.condemned.load(Ordering::Acquire) {
            return None;
        }
        self.owed().deadline()
    }

    /// Whether it has been silent for too long, or is silent because somebody stopped it.
    pub(crate) fn is_lost(&self) -> bool {
        if self.condemned.load(Ordering::Acquire) {
            return false;
        }
        let is_stopped = || process::stat(self.pid()).is_some_and(|stat| stat.stopped);
        self.owed().is_lost(Instant::now(), is_stopped)
    }

    /// Kills the guardian itself. Its death is noticed and its tree adopted like after any other death.
    pub(crate) fn condemn(&self) {
        if self.condemned.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::warn!(
            guardian = self.pid(),
            server = self.name,
            "a guardian does not answer: killed, its tree is adopted and ended"
        );
        // By number where it must be: the watcher, which calls this, is the only one to reap guardians.
        let killed = match &self.pidfd {
            Some(pidfd) => pidfd_send_signal(pidfd, Signal::KILL),
            None => crate::signal::pid(self.pid())
                .map_or(Ok(()), |pid| rustix::process::kill_process(pid, Signal::KILL)),
        };
        match killed {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => tracing::error!(guardian = self.pid(), %errno, "cannot kill a guardian"),
        }
    }
}
