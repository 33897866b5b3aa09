//! Children that are not the gateway's: those that exist at the warden's start, and their orphans.

use crate::{
    procfs::{self, Children},
    sys::{self, Errno, Pid, RLIMIT_LOCKS, Table},
    walk::{Child, Claim, Owner},
};

/// Who must not be signalled.
pub(super) struct Siblings {
    noted: Table<Child>,
    /// Our own hard RLIMIT_LOCKS. The gateway is started with a lower one, and everything below
    /// inherits that or lowers it further.
    limit: Option<u64>,
}

impl Siblings {
    /// Notes the children that exist now.
    pub(super) fn note() -> Result<Self, Errno> {
        let mut noted = Table::new();
        let mut refused = None;
        let mut children = Children::detect();
        children.refresh();
        children.each(sys::own_pid(), &mut |pid| {
            let start_ticks = procfs::stat(pid).map_or(0, |stat| stat.start);
            if let Err(errno) = noted.push(Child { pid: pid.unsigned_abs(), start_ticks }) {
                refused = Some(errno);
            }
        });
        match refused {
            Some(errno) => Err(errno),
            None => Ok(Siblings { noted, limit: None }),
        }
    }

    /// The limit that tells the gateway's processes from others, where others may exist: as PID 1
    /// we inherit orphans of whatever is executed in the container.
    pub(super) fn limit_for_gateway(&mut self) -> Option<u64> {
        if self.noted.as_slice().is_empty() && sys::own_pid() != 1 {
            return None;
        }
        let (_, hard) = sys::limit(RLIMIT_LOCKS).ok()?;
        self.limit = Some(hard);
        // Not a mark when ours is none: the two topmost bits of a mark are zero. Below an outer
        // mark this is that mark minus one lease, still above every mark one level deeper.
        Some(if hard == u64::MAX { u64::MAX >> 1 } else { hard.saturating_sub(1) })
    }

    fn is_orphan_of_sibling(&self, pid: Pid) -> bool {
        let Some(own) = self.limit else { return false };
        sys::hard_limit_of(pid, RLIMIT_LOCKS).is_ok_and(|limit| limit >= own)
    }
}

impl Owner for Siblings {
    fn claim(&mut self, child: Child) -> Claim {
        let noted = self.noted.as_slice().contains(&child);
        let pid = Pid::try_from(child.pid).unwrap_or(-1);
        if noted || self.is_orphan_of_sibling(pid) { Claim::Spared } else { Claim::Ours }
    }
}
