//! The body of a spec: what a guardian is to start.
//!
//! `u32 gateway_pid, u64 mark, u32 argc, u32 envc, u64 data_max, u16 oom_score_adj, u8 nice, u8 0,
//! u32 descriptors`, then NUL-terminated strings: name, cwd, program, leaf, `argc` arguments (the first is the
//! server's own `argv[0]`), `envc` times `K=V`.

use crate::protocol::{Malformed, SPEC_MAX};

/// The bytes before the first string.
const HEAD: usize = 36;
/// The strings before the arguments.
pub(crate) const FIXED: usize = 4;
/// The largest niceness.
const NICE_MAX: u8 = 19;
/// The largest `oom_score_adj`.
const OOM_MAX: u16 = 1000;

/// What the server's child is limited by. The guardian keeps its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Its niceness, at most 19. Never lowered.
    pub nice: u8,
    /// Its `oom_score_adj`, at most 1000. Never lowered.
    pub oom_score_adj: u16,
    /// RLIMIT_DATA in bytes, 0 for none: address space, not memory.
    pub data_max: u64,
    /// Its soft RLIMIT_NOFILE, 0 for the guardian's.
    pub descriptors: u32,
}

impl Limits {
    const fn fit(self) -> bool {
        self.nice <= NICE_MAX && self.oom_score_adj <= OOM_MAX
    }
}

/// What the gateway wants started.
#[derive(Debug, Clone, Copy)]
pub struct Spec<'a> {
    /// The guardian's parent; it ends when that is gone.
    pub gateway_pid: u32,
    /// The RLIMIT_LOCKS mark, 0 for none.
    pub mark: u64,
    /// The server's name, for people.
    pub name: &'a [u8],
    /// Its working directory, absolute.
    pub cwd: &'a [u8],
    /// The absolute path of the program.
    pub program: &'a [u8],
    /// The absolute path of an empty cgroup v2 directory of its own; empty for none.
    pub leaf: &'a [u8],
    /// What limits the server alone.
    pub limits: Limits,
    /// The whole argument vector, `argv[0]` included.
    pub argv: &'a [&'a [u8]],
    /// The whole environment as `K=V`.
    pub env: &'a [&'a [u8]],
}

impl Spec<'_> {
    /// The length of the encoded body.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.strings().fold(HEAD, |len, string| len.saturating_add(string.len() + 1))
    }

    /// Hands the encoded body to `sink`, piece by piece, once everything has been checked.
    pub fn encode(&self, sink: &mut dyn FnMut(&[u8])) -> Result<(), Malformed> {
        let argc = u32::try_from(self.argv.len()).map_err(|_| Malformed::OutOfRange)?;
        let envc = u32::try_from(self.env.len()).map_err(|_| Malformed::OutOfRange)?;
        if argc == 0 || !self.limits.fit() || self.encoded_len() > SPEC_MAX {
            return Err(Malformed::OutOfRange);
        }
        if self.strings().any(|string| string.contains(&0)) {
            return Err(Malformed::Nul);
        }
        sink(&self.gateway_pid.to_le_bytes());
        sink(&self.mark.to_le_bytes());
        sink(&argc.to_le_bytes());
        sink(&envc.to_le_bytes());
        sink(&self.limits.data_max.to_le_bytes());
        sink(&self.limits.oom_score_adj.to_le_bytes());
        sink(&[self.limits.nice, 0]);
        sink(&self.limits.descriptors.to_le_bytes());
        for string in self.strings() {
            sink(string);
            sink(&[0]);
        }
        Ok(())
    }

    fn strings(&self) -> impl Iterator<Item = &[u8]> {
        [self.name, self.cwd, self.program, self.leaf]
            .into_iter()
            .chain(self.argv.iter().copied())
            .chain(self.env.iter().copied())
    }
}

/// An encoded body, checked: every string is terminated and every count is true.
#[derive(Debug, Clone, Copy)]
pub struct SpecView<'a> {
    /// The guardian's parent.
    pub gateway_pid: u32,
    /// The RLIMIT_LOCKS mark, 0 for none.
    pub mark: u64,
    /// How many arguments, `argv[0]` included.
    pub argc: usize,
    /// How many environment entries.
    pub envc: usize,
    /// What limits the server alone.
    pub limits: Limits,
    strings: &'a [u8],
}

impl<'a> SpecView<'a> {
    /// Checks a body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let (head, strings) = body.split_first_chunk::<HEAD>().ok_or(Malformed::Short)?;
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let argc = usize::try_from(word(12)).map_err(|_| Malformed::OutOfRange)?;
        let envc = usize::try_from(word(16)).map_err(|_| Malformed::OutOfRange)?;
        let expected = argc
            .checked_add(envc)
            .and_then(|sum| sum.checked_add(FIXED))
            .ok_or(Malformed::OutOfRange)?;
        if argc == 0 {
            return Err(Malformed::OutOfRange);
        }
        if strings.last() != Some(&0) {
            return Err(Malformed::Nul);
        }
        if strings.iter().filter(|byte| **byte == 0).count() != expected {
            return Err(Malformed::Nul);
        }
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let limits = Limits {
            nice: head[30],
            oom_score_adj: u16::from_le_bytes([head[28], head[29]]),
            data_max: long(20),
            descriptors: word(32),
        };
        if !limits.fit() {
            return Err(Malformed::OutOfRange);
        }
        Ok(SpecView { gateway_pid: word(0), mark: long(4), argc, envc, limits, strings })
    }

    /// Every string with its terminator: name, cwd, program, leaf, arguments, environment.
    pub fn strings(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.strings.split_inclusive(|byte| *byte == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const SPEC: Spec<'static> = Spec {
        gateway_pid: 42,
        mark: 0x3f12_3400_0000_0056,
        name: b"files",
        cwd: b"/tmp",
        program: b"/bin/sh",
        leaf: b"/sys/fs/cgroup/x",
        limits: Limits { nice: 5, oom_score_adj: 300, data_max: 1 << 40, descriptors: 1024 },
        argv: &[b"sh", b"", b"-c"],
        env: &[b"A=b", b"C="],
    };

    fn encoded(spec: &Spec<'_>) -> Vec<u8> {
        let mut body = Vec::new();
        spec.encode(&mut |bytes| body.extend_from_slice(bytes)).unwrap();
        assert_eq!(body.len(), spec.encoded_len());
        body
    }

    #[test]
    fn a_spec_survives_its_encoding() {
        let body = encoded(&SPEC);
        let view = SpecView::parse(&body).unwrap();
        assert_eq!((view.gateway_pid, view.mark, view.argc, view.envc), (42, SPEC.mark, 3, 2));
        assert_eq!(view.limits, SPEC.limits);
        let strings: Vec<&[u8]> = view.strings().collect();
        let expected: [&[u8]; 9] = [
            b"files\0",
            b"/tmp\0",
            b"/bin/sh\0",
            b"/sys/fs/cgroup/x\0",
            b"sh\0",
            b"\0",
            b"-c\0",
            b"A=b\0",
            b"C=\0",
        ];
        assert_eq!(strings, expected);
    }

    #[test]
    fn a_cut_or_bent_body_is_refused() {
        let body = encoded(&SPEC);
        for len in 0..body.len() {
            assert!(SpecView::parse(&body[..len]).is_err(), "{len}");
        }
        let mut more = body;
        more[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(SpecView::parse(&more).is_err());
        let refused = |spec: Spec<'_>| spec.encode(&mut |_| panic!("a part was written"));
        assert_eq!(refused(Spec { cwd: b"/a\0b", ..SPEC }), Err(Malformed::Nul));
        assert_eq!(refused(Spec { argv: &[], ..SPEC }), Err(Malformed::OutOfRange));
        for limits in [
            Limits { nice: 20, ..Limits::default() },
            Limits { oom_score_adj: 1001, ..Limits::default() },
        ] {
            assert_eq!(refused(Spec { limits, ..SPEC }), Err(Malformed::OutOfRange));
        }
        let large = std::vec![b'x'; SPEC_MAX];
        assert_eq!(refused(Spec { env: &[&large], ..SPEC }), Err(Malformed::OutOfRange));
    }
}
