//! Which file systems a state directory cannot live on.
//!
//! On a network file system a lock may hold for one machine only, and SQLite's write-ahead log needs memory shared
//! between all its users (<https://www.sqlite.org/wal.html>), so two gateways could corrupt each other's records.

use std::path::Path;

/// Names the network file system that holds a path; `None` when it is local.
pub(crate) fn network(path: &Path) -> std::io::Result<Option<&'static str>> {
    let magic = i128::from(rustix::fs::statfs(path)?.f_type);
    Ok(name_of(magic))
}

/// By the magic numbers of `linux/magic.h`. The kernel keeps 32 bits, which some platforms widen with a sign.
///
/// 9p and FUSE are left out: containers and virtual machines keep whole local roots on them. There the trial that
/// opening the database makes decides.
fn name_of(magic: i128) -> Option<&'static str> {
    match magic & 0xffff_ffff {
        0x6969 => Some("NFS"),
        0x517b => Some("SMB"),
        0xff53_4d42 => Some("CIFS"),
        0xfe53_4d42 => Some("SMB2"),
        0x5346_414f | 0x6b41_4653 => Some("AFS"),
        0x7375_7245 => Some("Coda"),
        0x0bd0_0bd0 => Some("Lustre"),
        0x0116_1970 => Some("GFS2"),
        0x7461_636f => Some("OCFS2"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_named() {
        assert_eq!(name_of(0x6969), Some("NFS"));
        assert_eq!(name_of(i128::from(0xff53_4d42_u32.cast_signed())), Some("CIFS"));
        assert_eq!(name_of(0xef53), None, "ext4 is local");
        assert_eq!(name_of(0x794c_7630), None, "overlayfs is local");
        assert_eq!(name_of(0x0102_1994), None, "tmpfs is local");
    }

    #[test]
    fn the_machine_is_asked() {
        assert!(network(Path::new("/proc")).unwrap().is_none());
    }
}
