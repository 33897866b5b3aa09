//! The peer of every local socket, asked of the kernel through `sock_diag`. No library of ours speaks it, and the one
//! question and its answer are 30 lines.

use std::collections::BTreeMap;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP` of `linux/netlink.h`.
const REQUEST_DUMP: u16 = 0x301;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `AF_UNIX`, `UDIAG_SHOW_PEER` and `UNIX_DIAG_PEER` of `linux/unix_diag.h`.
const UNIX: u8 = 1;
const SHOW_PEER: u32 = 4;
const PEER: u16 = 2;
/// Of the header of a message, and of what precedes the attributes in an answer.
const HEADER: usize = 16;
const ANSWER: usize = 16;

/// Every local socket of our network namespace by inode, with its peer's inode: 0 when the peer is gone.
pub(super) fn read() -> Result<BTreeMap<u32, u32>, Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    rustix::net::sendto(&socket, &question(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut found = BTreeMap::new();
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        let (length, _) = rustix::net::recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        if length == 0 {
            return Err(Errno::PROTO);
        }
        if take(&buffer[..length], &mut found)? == Progress::Done {
            return Ok(found);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    More,
    Done,
}

fn question() -> Vec<u8> {
    let mut body = vec![UNIX, 0, 0, 0];
    // All states, any inode, what to show, no cookie.
    for word in [u32::MAX, 0, SHOW_PEER, u32::MAX, u32::MAX] {
        body.extend(word.to_ne_bytes());
    }
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST_DUMP.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    message
}

fn take(mut bytes: &[u8], found: &mut BTreeMap<u32, u32>) -> Result<Progress, Errno> {
    while let (Some(length), Some(kind)) = (word(bytes, 0), half(bytes, 4)) {
        let length = usize::try_from(length).map_err(|_| Errno::PROTO)?;
        if length < HEADER || length > bytes.len() {
            return Err(Errno::PROTO);
        }
        match kind {
            DONE => return Ok(Progress::Done),
            ERROR => return Err(Errno::PROTO),
            _ => {
                let body = &bytes[HEADER..length];
                let peer = peer(body.get(ANSWER..).unwrap_or_default());
                if let (Some(inode), Some(peer)) = (word(body, 4), peer) {
                    found.insert(inode, peer);
                }
            }
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Progress::More)
}

/// The peer among the attributes: 0 when it was closed. A socket that was never connected has none.
fn peer(mut attributes: &[u8]) -> Option<u32> {
    loop {
        let length = usize::from(half(attributes, 0)?);
        if half(attributes, 2)? == PEER {
            return word(attributes, 4);
        }
        if length < 4 {
            return None;
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_answers_are_refused_and_end() {
        let mut found = BTreeMap::new();
        let mut message = |length: u32, kind: u16, body: &[u8]| {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(body);
            take(&bytes, &mut found)
        };
        assert_eq!(message(16, DONE, &[]), Ok(Progress::Done));
        assert_eq!(message(16, ERROR, &[]), Err(Errno::PROTO));
        assert_eq!(message(3, BY_FAMILY, &[]), Err(Errno::PROTO));
        assert_eq!(message(99, BY_FAMILY, &[]), Err(Errno::PROTO));
        assert_eq!(message(16, BY_FAMILY, &[]), Ok(Progress::More));
        assert_eq!(peer(&[0, 0, 0, 0]), None);
        assert!(found.is_empty());
    }
}
