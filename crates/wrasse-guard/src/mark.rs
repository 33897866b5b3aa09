//! The mark of a tree: a value of RLIMIT_LOCKS, which Linux has not used since 2.4.25, which every
//! descendant inherits, which the unprivileged can only lower, and which everybody can read in
//! `/proc/<pid>/limits`.
//!
//! Bits 61..56 hold 63 − depth, 55..40 the installation, 39..0 the lease. A nested gateway's mark
//! must be numerically lower than the outer one's, which the depth in the topmost bits provides. The
//! two bits above are the version, [`Mark::VERSION`]. As that is 0, an unlimited or a merely large
//! limit is no mark, and neither is one of a version that lays the rest out in another way.

const LEASE_BITS: u32 = 40;
const INSTALLATION_BITS: u32 = 16;
const DEPTH_SHIFT: u32 = LEASE_BITS + INSTALLATION_BITS;
const DEPTH_FIELD_MAX: u64 = 63;
const VERSION_SHIFT: u32 = 62;

/// What RLIMIT_LOCKS says about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    depth: u8,
    installation: u16,
    lease: u64,
}

impl Mark {
    /// The lease number that the gateway itself carries.
    pub const GATEWAY_LEASE: u64 = (1 << LEASE_BITS) - 1;
    /// The version of this layout.
    pub const VERSION: u64 = 0;
    /// The deepest nesting of gateways that can be marked. One less than fits, so that a mark is
    /// never a small number.
    pub const DEPTH_MAX: u8 = 62;

    /// A mark; `None` when the depth or the lease does not fit.
    #[must_use]
    pub const fn new(depth: u8, installation: u16, lease: u64) -> Option<Self> {
        if depth > Self::DEPTH_MAX || lease > Self::GATEWAY_LEASE {
            return None;
        }
        Some(Mark { depth, installation, lease })
    }

    /// The mark that a limit encodes, if it is one.
    #[must_use]
    pub const fn from_u64(limit: u64) -> Option<Self> {
        let field = limit >> DEPTH_SHIFT;
        if limit >> VERSION_SHIFT != Self::VERSION || field == 0 || field > DEPTH_FIELD_MAX {
            return None;
        }
        let [_, _, installation_low, installation_high, ..] =
            (limit >> (LEASE_BITS - 16)).to_le_bytes();
        let [depth, ..] = (DEPTH_FIELD_MAX - field).to_le_bytes();
        Some(Mark {
            depth,
            installation: u16::from_le_bytes([installation_low, installation_high]),
            lease: limit & Self::GATEWAY_LEASE,
        })
    }

    /// The limit that encodes the mark.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        // `as` because `From` is not const yet; every cast widens.
        (DEPTH_FIELD_MAX - self.depth as u64) << DEPTH_SHIFT
            | (self.installation as u64) << LEASE_BITS
            | self.lease
    }

    /// How many gateways are around the one that set it.
    #[must_use]
    pub const fn depth(self) -> u8 {
        self.depth
    }

    /// The installation that set it.
    #[must_use]
    pub const fn installation(self) -> u16 {
        self.installation
    }

    /// The lease, which is an instance's number, or [`Mark::GATEWAY_LEASE`].
    #[must_use]
    pub const fn lease(self) -> u64 {
        self.lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_its_encoding() {
        for (depth, installation, lease) in
            [(0, 1, 7), (1, 0xffff, 0), (62, 0xa55a, Mark::GATEWAY_LEASE), (5, 0, 1 << 39)]
        {
            let mark = Mark::new(depth, installation, lease).unwrap();
            assert_eq!(Mark::from_u64(mark.to_u64()), Some(mark));
            assert_eq!(
                (mark.depth(), mark.installation(), mark.lease()),
                (depth, installation, lease)
            );
        }
    }

    #[test]
    fn a_nested_mark_is_lower_and_a_server_is_below_its_gateway() {
        let outer = Mark::new(0, 1, 1).unwrap().to_u64();
        let inner = Mark::new(1, 0xffff, Mark::GATEWAY_LEASE).unwrap().to_u64();
        assert!(inner < outer);
        let server = Mark::new(1, 0xffff, 3).unwrap().to_u64();
        assert!(server < inner);
        assert_eq!(Mark::new(0, 0x1234, 0x56).unwrap().to_u64(), 0x3f12_3400_0000_0056);
    }

    #[test]
    fn a_mark_of_another_version_is_not_ours() {
        let ours = Mark::new(0, 0x1234, 7).unwrap().to_u64();
        assert_eq!(ours >> VERSION_SHIFT, Mark::VERSION);
        for version in 1..4 {
            assert_eq!(Mark::from_u64(ours | version << VERSION_SHIFT), None);
        }
    }

    #[test]
    fn what_is_no_mark_is_not_taken_for_one() {
        for limit in [0, 1024, 65_536, u64::MAX, u64::MAX >> 1, 1 << 62] {
            assert_eq!(Mark::from_u64(limit), None, "{limit}");
        }
        assert_eq!(Mark::new(63, 0, 0), None);
        assert_eq!(Mark::new(0, 0, 1 << 40), None);
    }
}
