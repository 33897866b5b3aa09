//! Packets on the control socket.

use super::{Errno, Fd, answer, call, number, signed};
use crate::protocol::SPEC_FDS;

const MSG_DONTWAIT: usize = 0x40;
const MSG_NOSIGNAL: usize = 0x4000;
const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;
const MSG_TRUNC: i32 = 0x20;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
/// Room for one more than is wanted, so that too many are noticed.
const FDS_MAX: usize = SPEC_FDS + 1;

#[repr(C)]
struct Vector {
    base: usize,
    len: usize,
}

#[repr(C)]
struct Header {
    name: usize,
    name_len: u32,
    vectors: usize,
    vectors_len: usize,
    control: usize,
    control_len: usize,
    flags: i32,
}

#[repr(C, align(8))]
struct Control {
    len: usize,
    level: i32,
    kind: i32,
    fds: [i32; FDS_MAX],
}

/// What a packet brought beside its bytes.
pub(crate) struct Received {
    /// How many bytes; 0 means that the peer is gone.
    pub(crate) len: usize,
    /// The descriptors that came with it, if exactly as many as a spec carries.
    pub(crate) fds: Option<[Fd; SPEC_FDS]>,
}

/// Receives one packet without waiting: its first bytes into `head`, the rest into `body`.
/// A packet that does not fit is EPROTO.
pub(crate) fn receive(socket: &Fd, head: &mut [u8], body: &mut [u8]) -> Result<Received, Errno> {
    let mut vectors = [
        Vector { base: head.as_mut_ptr().expose_provenance(), len: head.len() },
        Vector { base: body.as_mut_ptr().expose_provenance(), len: body.len() },
    ];
    let mut control = Control { len: 0, level: 0, kind: 0, fds: [-1; FDS_MAX] };
    let mut header = Header {
        name: 0,
        name_len: 0,
        vectors: vectors.as_mut_ptr().expose_provenance(),
        vectors_len: vectors.len(),
        control: core::ptr::from_mut(&mut control).expose_provenance(),
        control_len: size_of::<Control>(),
        flags: 0,
    };
    let arguments = [
        signed(socket.raw()),
        core::ptr::from_mut(&mut header).expose_provenance(),
        MSG_DONTWAIT | MSG_CMSG_CLOEXEC,
        0,
        0,
        0,
    ];
    // SAFETY: the header is the kernel's msghdr and points to live, writable buffers.
    let len = answer(unsafe { call(number::RECVMSG, arguments) })?;
    let fds = take_fds(&control, header.control_len);
    if header.flags & MSG_TRUNC != 0 {
        return Err(Errno::PROTO);
    }
    Ok(Received { len, fds })
}

fn take_fds(control: &Control, control_len: usize) -> Option<[Fd; SPEC_FDS]> {
    const HEAD: usize = size_of::<usize>() + 2 * size_of::<i32>();
    if control_len < HEAD || control.level != SOL_SOCKET || control.kind != SCM_RIGHTS {
        return None;
    }
    let count = (control.len.saturating_sub(HEAD) / size_of::<i32>()).min(FDS_MAX);
    // Owned at once, so that a wrong number of them is closed, not leaked.
    let mut owned = control.fds.map(|raw| Some(raw).filter(|raw| *raw >= 0).map(Fd::own));
    if count != SPEC_FDS {
        return None;
    }
    match (owned[0].take(), owned[1].take(), owned[2].take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => Some([stdin, stdout, stderr]),
        _ => None,
    }
}

/// Sends one packet without waiting. A gateway that does not read loses messages, not trees.
pub(crate) fn send(socket: &Fd, packet: &[u8]) -> Result<(), Errno> {
    let flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    let arguments =
        [signed(socket.raw()), packet.as_ptr().expose_provenance(), packet.len(), flags, 0, 0];
    // SAFETY: the kernel reads `len` bytes of the slice; there is no address.
    answer(unsafe { call(number::SENDTO, arguments) }).map(drop)
}

/// Refuses what the peer would still send, and throws away what it has sent: closing a socket with
/// unread packets would give the peer ECONNRESET in place of our last word.
pub(crate) fn hang_up(socket: &Fd) {
    const SHUT_RDWR: usize = 2;
    // SAFETY: no memory is touched. It is refused only when the peer is gone, which is as good.
    unsafe { call(number::SHUTDOWN, [signed(socket.raw()), SHUT_RDWR, 0, 0, 0, 0]) };
    loop {
        match receive(socket, &mut [0; 1], &mut []) {
            // Too long for us, and gone.
            Err(Errno::PROTO) => {}
            Ok(received) if received.len > 0 => {}
            Ok(_) | Err(_) => return,
        }
    }
}
