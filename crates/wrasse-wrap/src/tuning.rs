//! The allocator's settings for so small a process, and the environment without them.
//!
//! The C library reads them from a variable before `main`, so `wrasse wrap` sets it when it executes the shim; the
//! server gets the variable as the host had it.

use std::ffi::OsString;

const VARIABLE: &str = "GLIBC_TUNABLES";
/// Where what the host had in the variable is kept meanwhile.
const SAVED: &str = "WRASSE_WRAP_TUNABLES";
/// One arena for all threads; large buffers are given back at once, and stay so however many there were.
const OURS: &str = "glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=131072:\
                    glibc.malloc.tcache_count=0";

/// The variables to set for a shim.
pub(crate) fn for_shim() -> Vec<(&'static str, OsString)> {
    let before = std::env::var_os(VARIABLE);
    let mut value = before.clone().filter(|before| !before.is_empty()).unwrap_or_default();
    if !value.is_empty() {
        value.push(":");
    }
    value.push(OURS);
    let mut variables = vec![(VARIABLE, value)];
    variables.extend(before.map(|before| (SAVED, before)));
    variables
}

/// Our environment as the host gave it.
pub(crate) fn server_environment() -> Vec<(OsString, OsString)> {
    restored(std::env::vars_os().collect())
}

fn restored(env: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let ours = |value: &OsString| value.to_string_lossy().ends_with(OURS);
    let saved = env.iter().find(|(name, _)| name == SAVED).map(|(_, value)| value.clone());
    env.into_iter()
        .filter(|(name, _)| name != SAVED)
        .filter_map(|(name, value)| {
            if name == VARIABLE && ours(&value) {
                return saved.clone().map(|saved| (name, saved));
            }
            Some((name, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_sees_what_the_host_had() {
        let env = |pairs: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
            pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
        };
        let with = format!("a.b=1:{OURS}");
        assert_eq!(restored(env(&[("A", "1"), (VARIABLE, OURS)])), env(&[("A", "1")]));
        assert_eq!(
            restored(env(&[(VARIABLE, &with), (SAVED, "a.b=1")])),
            env(&[(VARIABLE, "a.b=1")])
        );
        assert_eq!(restored(env(&[(VARIABLE, "a.b=1")])), env(&[(VARIABLE, "a.b=1")]));
    }
}
