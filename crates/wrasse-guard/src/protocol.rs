//! The messages between the gateway and a guardian, and the mark that a tree carries.
//!
//! One `SOCK_SEQPACKET` socket per guardian; every message is one packet whose first byte is its
//! kind; integers are little-endian. Both ends come from the same build, but the executable may be
//! replaced under a running gateway, so every part of a spec carries a version. A guardian refuses a
//! spec of another version and says its own ([`Event::Unlike`]), and passes over orders that it does
//! not know; a gateway passes over such events.
//!
//! Version 2 added the limits and the leaf to the spec, and [`Event::Refused`]. Version 3 added
//! [`Event::Unlike`] and [`Stage::Hold`], and gave the second bit of [`Degraded`] a new meaning.
//!
//! Nothing here allocates: the guard program has no allocator. Decoders never panic on what a peer
//! sends; they return [`Malformed`].

/// The version of the protocol, carried by every [`Order::Spec`].
pub const VERSION: u8 = 4;
/// The largest packet in either direction.
pub const MESSAGE_MAX: usize = 32 * 1024;
/// The bytes before the payload of a [`Order::Spec`] packet.
pub const SPEC_HEADER: usize = 12;
/// The largest payload of one [`Order::Spec`] packet.
pub const SPEC_CHUNK_MAX: usize = MESSAGE_MAX - SPEC_HEADER;
/// The largest spec body a guardian accepts.
pub const SPEC_MAX: usize = 1024 * 1024;
/// The largest encoded [`Event`].
pub const EVENT_MAX: usize = 8;
/// The file descriptors that accompany the first chunk: the server's stdin, stdout and stderr.
pub const SPEC_FDS: usize = 3;

/// The exit code by which a gateway asks its warden to execute it again.
pub const EXIT_RESTART: u8 = 85;
/// The environment variable that tells a gateway the pid of its warden.
pub const WARDEN_VARIABLE: &str = "WRASSE_WARDEN";
/// The environment variable that tells a gateway the directory it was launched in: its own is `/`.
pub const LAUNCH_DIRECTORY_VARIABLE: &str = "WRASSE_LAUNCHED_IN";
/// What `argv[0]` of a guardian begins with; a space and the server's name follow.
pub const GUARDIAN_NAME: &str = "wrasse-guardian";
/// `argv[1]` of a guardian.
pub const GUARDIAN_ROLE: &str = "guardian";
/// What `argv[0]` of a warden begins with.
pub const WARDEN_NAME: &str = "wrasse-warden";
/// `argv[1]` of a warden.
pub const WARDEN_ROLE: &str = "warden";
/// The cgroup v2 directory that warden, gateway and guardians are in where they stepped aside for the leaves.
pub const ASIDE: &core::ffi::CStr = c"wrasse-self";

const KIND_SPEC: u8 = 1;
const KIND_GO: u8 = 2;
const KIND_TERM: u8 = 3;
const KIND_KILL: u8 = 4;
const KIND_PING: u8 = 5;
const KIND_READY: u8 = 129;
const KIND_STARTED: u8 = 130;
const KIND_FAILED: u8 = 131;
const KIND_EXITED: u8 = 132;
const KIND_STUCK: u8 = 133;
const KIND_EMPTY: u8 = 134;
const KIND_PONG: u8 = 135;
const KIND_REFUSED: u8 = 136;
const KIND_UNLIKE: u8 = 137;

/// A packet or a spec body that does not follow the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It ends before its last field.
    Short,
    /// Its kind or stage is not known.
    Unknown,
    /// It is a spec of another version.
    Version,
    /// A length or an offset in it is out of range.
    OutOfRange,
    /// A string in it holds a NUL, or is not terminated by one.
    Nul,
}

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Short => "the message ends too early",
            Self::Unknown => "the kind of the message is not known",
            Self::Version => "the spec is of another version",
            Self::OutOfRange => "a length in the message is out of range",
            Self::Nul => "a string in the message is not properly terminated",
        })
    }
}

impl core::error::Error for Malformed {}

/// What the gateway tells a guardian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order<'a> {
    /// A part of the spec; the first one carries the server's three descriptors.
    Spec {
        /// Reserved: written as 0, not read.
        flags: u16,
        /// The length of the whole body.
        total: u32,
        /// Where this part begins; parts come in order.
        offset: u32,
        /// The part itself.
        bytes: &'a [u8],
    },
    /// Fork and execute the server.
    Go,
    /// SIGTERM to the server's process group.
    Term,
    /// End the tree now. Before [`Order::Go`] the guardian just exits.
    Kill,
    /// Answer with [`Event::Pong`].
    Ping,
}

impl<'a> Order<'a> {
    /// Writes the packet's head into `head` and returns its length; a spec's bytes follow it as
    /// they are (use a second `iovec`), every other order is its head alone.
    pub fn encode_head(&self, head: &mut [u8; SPEC_HEADER]) -> usize {
        match *self {
            Order::Spec { flags, total, offset, bytes: _ } => {
                head[0] = KIND_SPEC;
                head[1] = VERSION;
                head[2..4].copy_from_slice(&flags.to_le_bytes());
                head[4..8].copy_from_slice(&total.to_le_bytes());
                head[8..12].copy_from_slice(&offset.to_le_bytes());
                SPEC_HEADER
            }
            Order::Go => single(head, KIND_GO),
            Order::Term => single(head, KIND_TERM),
            Order::Kill => single(head, KIND_KILL),
            Order::Ping => single(head, KIND_PING),
        }
    }

    /// Reads one packet.
    pub fn decode(packet: &'a [u8]) -> Result<Self, Malformed> {
        match *packet.first().ok_or(Malformed::Short)? {
            KIND_SPEC => {
                let (head, bytes) = packet.split_at_checked(SPEC_HEADER).ok_or(Malformed::Short)?;
                if head[1] != VERSION {
                    return Err(Malformed::Version);
                }
                Ok(Order::Spec {
                    flags: u16::from_le_bytes([head[2], head[3]]),
                    total: u32_at(head, 4)?,
                    offset: u32_at(head, 8)?,
                    bytes,
                })
            }
            KIND_GO => Ok(Order::Go),
            KIND_TERM => Ok(Order::Term),
            KIND_KILL => Ok(Order::Kill),
            KIND_PING => Ok(Order::Ping),
            _ => Err(Malformed::Unknown),
        }
    }
}

fn single(head: &mut [u8; SPEC_HEADER], kind: u8) -> usize {
    head[0] = kind;
    1
}

/// What a guardian or its server could not have, as bits. None of them stops a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Degraded(pub u8);

impl Degraded {
    /// The RLIMIT_LOCKS mark was refused.
    pub const MARK: u8 = 1;
    /// The kernel lists no children: every look at the tree reads the whole process table.
    pub const LISTS: u8 = 2;
    /// There are no pidfds: only direct children are signalled, until all have been one.
    pub const PIDFD: u8 = 4;
    /// The server's niceness was refused.
    pub const NICE: u8 = 16;
    /// The server's `oom_score_adj` was refused.
    pub const OOM: u8 = 32;
    /// The server's RLIMIT_DATA was refused.
    pub const DATA: u8 = 64;
    /// The leaf cannot be opened, or the server could not be put into it.
    pub const LEAF: u8 = 128;

    /// Whether all of `bits` are set.
    #[must_use]
    pub const fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }

    /// Whether nothing is missing.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// Where a start failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The spec was malformed, or the gateway is not the guardian's parent.
    Spec,
    /// fork.
    Fork,
    /// The working directory.
    Chdir,
    /// The descriptors.
    Fds,
    /// The limits.
    Limits,
    /// execve.
    Exec,
    /// What the guardian needs to hold a tree at all: without it nothing is started.
    Hold,
}

impl Stage {
    /// The stage's number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Stage::Spec => 1,
            Stage::Fork => 2,
            Stage::Chdir => 3,
            Stage::Fds => 4,
            Stage::Limits => 5,
            Stage::Exec => 6,
            Stage::Hold => 7,
        }
    }

    /// The stage of a number on the wire.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Stage::Spec),
            2 => Some(Stage::Fork),
            3 => Some(Stage::Chdir),
            4 => Some(Stage::Fds),
            5 => Some(Stage::Limits),
            6 => Some(Stage::Exec),
            7 => Some(Stage::Hold),
            _ => None,
        }
    }
}

/// What a guardian tells the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The spec is complete and the guardian is set up; it waits for [`Order::Go`].
    Ready {
        /// What it could not have.
        degraded: Degraded,
        /// Its own pid.
        pid: u32,
    },
    /// The server is about to be executed without some of its limits.
    Refused {
        /// Which.
        what: Degraded,
    },
    /// The server was executed.
    Started {
        /// The server's pid, which is also its process group.
        pid: u32,
    },
    /// The server could not be started; [`Event::Empty`] follows.
    Failed {
        /// Where.
        stage: Stage,
        /// Why, as an errno.
        errno: i32,
    },
    /// The server itself was reaped; the rest of its tree is being ended.
    Exited {
        /// The status as `wait` gives it.
        status: i32,
    },
    /// The kill rounds passed and processes are left; the guardian goes on trying.
    Stuck {
        /// How many.
        left: u32,
    },
    /// ECHILD was reached: nothing of the tree is left. The guardian exits 0 right after.
    Empty {
        /// How many processes it reaped in all, the server included; those that others of the tree
        /// reaped, before or while they were killed, are not among them.
        reaped: u32,
    },
    /// The answer to [`Order::Ping`].
    Pong,
    /// The spec is of another version than the guardian's, which this is; [`Event::Failed`] follows.
    Unlike {
        /// The guardian's own.
        version: u8,
    },
}

impl Event {
    /// Writes the packet and returns its length.
    pub fn encode(&self, out: &mut [u8; EVENT_MAX]) -> usize {
        let (kind, detail, number) = match *self {
            Event::Ready { degraded, pid } => (KIND_READY, Some(degraded.0), Some(pid)),
            Event::Refused { what } => (KIND_REFUSED, Some(what.0), None),
            Event::Started { pid } => (KIND_STARTED, None, Some(pid)),
            Event::Failed { stage, errno } => {
                (KIND_FAILED, Some(stage.code()), Some(errno.cast_unsigned()))
            }
            Event::Exited { status } => (KIND_EXITED, None, Some(status.cast_unsigned())),
            Event::Stuck { left } => (KIND_STUCK, None, Some(left)),
            Event::Empty { reaped } => (KIND_EMPTY, None, Some(reaped)),
            Event::Pong => (KIND_PONG, None, None),
            Event::Unlike { version } => (KIND_UNLIKE, Some(version), None),
        };
        out[0] = kind;
        let mut len = 1;
        if let Some(detail) = detail {
            out[len] = detail;
            len += 1;
        }
        if let Some(number) = number {
            out[len..len + 4].copy_from_slice(&number.to_le_bytes());
            len += 4;
        }
        len
    }

    /// Reads one packet.
    pub fn decode(packet: &[u8]) -> Result<Self, Malformed> {
        let detail = || packet.get(1).copied().ok_or(Malformed::Short);
        match *packet.first().ok_or(Malformed::Short)? {
            KIND_READY => {
                Ok(Event::Ready { degraded: Degraded(detail()?), pid: u32_at(packet, 2)? })
            }
            KIND_REFUSED => Ok(Event::Refused { what: Degraded(detail()?) }),
            KIND_STARTED => Ok(Event::Started { pid: u32_at(packet, 1)? }),
            KIND_FAILED => Ok(Event::Failed {
                stage: Stage::from_code(detail()?).ok_or(Malformed::Unknown)?,
                errno: u32_at(packet, 2)?.cast_signed(),
            }),
            KIND_EXITED => Ok(Event::Exited { status: u32_at(packet, 1)?.cast_signed() }),
            KIND_STUCK => Ok(Event::Stuck { left: u32_at(packet, 1)? }),
            KIND_EMPTY => Ok(Event::Empty { reaped: u32_at(packet, 1)? }),
            KIND_PONG => Ok(Event::Pong),
            KIND_UNLIKE => Ok(Event::Unlike { version: detail()? }),
            _ => Err(Malformed::Unknown),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(Malformed::Short)?;
    Ok(u32::from_le_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_survives_its_encoding() {
        let orders = [
            Order::Spec { flags: 1, total: 70_000, offset: 32_756, bytes: b"a\0b" },
            Order::Go,
            Order::Term,
            Order::Kill,
            Order::Ping,
        ];
        for order in orders {
            let mut head = [0; SPEC_HEADER];
            let len = order.encode_head(&mut head);
            let mut packet = std::vec::Vec::from(&head[..len]);
            if let Order::Spec { bytes, .. } = order {
                packet.extend_from_slice(bytes);
            }
            assert_eq!(Order::decode(&packet), Ok(order));
        }
    }

    #[test]
    fn every_event_survives_its_encoding() {
        let failed = |stage| Event::Failed { stage, errno: 13 };
        let events = [
            Event::Ready { degraded: Degraded(Degraded::MARK | Degraded::PIDFD), pid: 4_194_303 },
            Event::Refused { what: Degraded(Degraded::NICE | Degraded::LEAF) },
            Event::Started { pid: 7 },
            failed(Stage::Spec),
            failed(Stage::Fork),
            failed(Stage::Chdir),
            failed(Stage::Fds),
            failed(Stage::Limits),
            failed(Stage::Exec),
            failed(Stage::Hold),
            Event::Unlike { version: VERSION },
            Event::Exited { status: -1 },
            Event::Stuck { left: 3 },
            Event::Empty { reaped: u32::MAX },
            Event::Pong,
        ];
        for event in events {
            let mut packet = [0; EVENT_MAX];
            let len = event.encode(&mut packet);
            assert_eq!(Event::decode(&packet[..len]), Ok(event));
            for short in 0..len {
                assert_eq!(Event::decode(&packet[..short]), Err(Malformed::Short), "{event:?}");
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(Order::decode(&[]), Err(Malformed::Short));
        assert_eq!(Order::decode(&[9]), Err(Malformed::Unknown));
        assert_eq!(Order::decode(&[1, VERSION]), Err(Malformed::Short));
        assert_eq!(
            Order::decode(&[1, VERSION + 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Err(Malformed::Version)
        );
        assert_eq!(Event::decode(&[KIND_FAILED, 9, 0, 0, 0, 0]), Err(Malformed::Unknown));
    }
}
