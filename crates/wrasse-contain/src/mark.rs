//! The two marks that every process of a tree inherits: a resource limit that nothing else uses, and an
//! environment variable. The sweep and `ps` find by them what no guardian holds any more.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wrasse_guard::Mark;

/// The environment variable: a comma-separated list, to which an inner gateway appends. Each entry is four digits of
/// an installation, a colon and an instance; a later version's has another shape, and is nobody's to us.
pub(crate) const VARIABLE: &str = "WRASSE_MARK";

/// The mark that we carry ourselves.
pub(crate) fn inherited() -> Option<Mark> {
    getrlimit(Resource::Locks).maximum.and_then(Mark::from_u64)
}

/// How deep below other gateways a gateway with this inherited mark is.
pub(crate) fn depth_below(inherited: Option<Mark>) -> u8 {
    inherited.map_or(0, |mark| mark.depth().saturating_add(1).min(Mark::DEPTH_MAX))
}

/// Puts a mark on this process, for everything it starts from now on.
pub(crate) fn carry(mark: Mark) -> std::io::Result<()> {
    let value = Some(mark.to_u64());
    Ok(setrlimit(Resource::Locks, Rlimit { current: value, maximum: value })?)
}

/// The resource limit mark of any process, readable whoever it belongs to.
pub(crate) fn of(pid: u32) -> Option<Mark> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    Mark::from_u64(line.split_ascii_whitespace().next()?.parse().ok()?)
}

/// One entry of the variable.
pub(crate) fn entry(installation: u16, instance: u64) -> String {
    format!("{installation:04x}:{instance}")
}

/// Appends our entry to the variable in `env`, after what an outer gateway wrote there or gave us.
pub(crate) fn append(env: &mut Vec<(OsString, OsString)>, outer: Option<&OsStr>, entry: &str) {
    let given = env.iter().rposition(|(name, _)| name == VARIABLE);
    let before = given.map(|at| env[at].1.clone()).or_else(|| outer.map(OsStr::to_owned));
    env.retain(|(name, _)| name != VARIABLE);
    let mut value = before.unwrap_or_default();
    if !value.is_empty() {
        value.push(",");
    }
    value.push(entry);
    env.push((VARIABLE.into(), value));
}

/// The instance of `installation` that a process's environment names, where we may read it.
pub(crate) fn in_environment(pid: u32, installation: u16) -> Option<u64> {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    instance_in(&environ, installation)
}

fn instance_in(environ: &[u8], installation: u16) -> Option<u64> {
    let value = environ.split(|byte| *byte == 0).find_map(|entry| {
        entry.strip_prefix(VARIABLE.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
    })?;
    let text = OsStr::from_bytes(value).to_str()?;
    let ours = text.rsplit(',').find_map(|entry| {
        let (id, instance) = entry.split_once(':')?;
        (u16::from_str_radix(id, 16) == Ok(installation) && id.len() == 4).then_some(instance)
    })?;
    ours.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_a_list_that_the_inner_appends_to() {
        let mut env = vec![("A".into(), "b".into())];
        append(&mut env, None, &entry(0xab, 7));
        assert_eq!(env[1], (VARIABLE.into(), "00ab:7".into()));
        append(&mut env, Some(OsStr::new("ignored")), &entry(1, 8));
        assert_eq!(env.len(), 2);
        assert_eq!(env[1].1, "00ab:7,0001:8");
        let mut inner = Vec::new();
        append(&mut inner, Some(OsStr::new("00ab:7")), &entry(2, 9));
        assert_eq!(inner[0].1, "00ab:7,0002:9");
    }

    #[test]
    fn finds_our_entry_and_no_other() {
        let environ = b"PATH=/bin\0XWRASSE_MARK=0001:1\0WRASSE_MARK=00ab:7,0002:9\0";
        assert_eq!(instance_in(environ, 0xab), Some(7));
        assert_eq!(instance_in(environ, 2), Some(9));
        assert_eq!(instance_in(environ, 1), None);
        for bad in [
            &b""[..],
            b"WRASSE_MARK=",
            b"WRASSE_MARK=ab:7",
            b"WRASSE_MARK=00ab",
            b"WRASSE_MARK=00ab:x",
            b"WRASSE_MARK=2:00ab:7",
            b"WRASSE_MARK=v2/00ab:7",
            b"WRASSE_MARK=00ab:7:9",
        ] {
            assert_eq!(instance_in(bad, 0xab), None);
        }
    }

    #[test]
    fn depth_grows_and_saturates() {
        assert_eq!(depth_below(None), 0);
        assert_eq!(depth_below(Mark::new(0, 1, 1)), 1);
        assert_eq!(depth_below(Mark::new(Mark::DEPTH_MAX, 1, 1)), Mark::DEPTH_MAX);
    }
}
