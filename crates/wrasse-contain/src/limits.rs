//! What a server may use.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wrasse_guard::Limits as Imposed;

/// Each tree costs us five descriptors; ten thousand trees are more than a machine has room for.
const DESCRIPTORS_MAX: u64 = 65_536;
/// The soft RLIMIT_NOFILE that this process was started with, once it has been raised.
static DESCRIPTORS_FOUND: OnceLock<u32> = OnceLock::new();

/// How much sooner than us the kernel takes a server when memory runs out, unless said otherwise.
const OOM_SOONER: i32 = 300;
const OOM_MAX: u16 = 1000;
const NICE_MAX: u8 = 19;

/// The limits of one server. What is refused here degrades, is noted, and stops no start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Anonymous and shared memory of the whole tree, in bytes.
    pub memory_max: Option<u64>,
    /// Processes of the whole tree.
    pub processes_max: Option<u32>,
    /// Niceness, at most 19; never lowered. Where the kernel groups sessions (`autogroup`), it orders the processes of
    /// one tree only.
    pub nice: Option<u8>,
    /// `oom_score_adj`, at most 1000; never lowered. Default: 300 more than ours, so that the kernel takes a server
    /// before us.
    pub oom_score_adj: Option<u16>,
    /// RLIMIT_DATA of each process, in bytes: address space, which is not memory.
    pub address_space_max: Option<u64>,
}

impl Limits {
    /// What the server's own child is to impose on itself.
    pub(crate) fn imposed(&self) -> Imposed {
        Imposed {
            nice: self.nice.unwrap_or(0).min(NICE_MAX),
            oom_score_adj: self
                .oom_score_adj
                .unwrap_or_else(|| sooner_than(own_oom_score()))
                .min(OOM_MAX),
            data_max: self.address_space_max.unwrap_or(0),
            descriptors: DESCRIPTORS_FOUND.get().copied().unwrap_or(0),
        }
    }
}

/// Raises this process's soft limit of descriptors to the hard one, 65,536 at most: five are needed for each tree, and
/// the usual 1,024 would end at two hundred. Servers that start from now on get what was found, since programs exist
/// that close every number up to their limit, or fail above 1,024.
///
/// Not for a process that starts others by itself as well: those keep the raised limit.
///
/// # Errors
/// When the kernel refuses.
pub fn raise_descriptor_limit() -> std::io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(DESCRIPTORS_MAX, |hard| hard.min(DESCRIPTORS_MAX));
    let Some(found) = current.filter(|found| *found < wanted) else { return Ok(()) };
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })?;
    DESCRIPTORS_FOUND.get_or_init(|| u32::try_from(found).unwrap_or(u32::MAX));
    Ok(())
}

fn own_oom_score() -> i32 {
    let text = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// More than ours where ours is so low that 300 more is still negative: any such number is sooner, and 0 asks for nothing.
fn sooner_than(own: i32) -> u16 {
    u16::try_from(own.saturating_add(OOM_SOONER)).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_die_before_us() {
        assert_eq!((sooner_than(0), sooner_than(-998), sooner_than(-100)), (300, 1, 200));
        let all =
            Limits { oom_score_adj: Some(2000), nice: Some(40), ..Limits::default() }.imposed();
        assert_eq!((all.oom_score_adj, all.nice, all.data_max), (1000, 19, 0));
        let default = Limits::default().imposed();
        assert_eq!(i32::from(default.oom_score_adj), (own_oom_score() + 300).clamp(1, 1000));
    }
}
