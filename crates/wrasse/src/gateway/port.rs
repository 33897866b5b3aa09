//! Who listens on a port of this machine, as far as we may see.

use std::path::Path;

/// The process that listens on a port of 127.0.0.1 or of every address, with its name. `None` where we may not see
/// it: another user's.
pub(super) fn holder(port: u16) -> Option<String> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|row| listening(row, port)).collect::<Vec<_>>())
        .collect();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter(|entry| holds(&entry.path(), &sockets)).find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        Some(format!("{pid} ({})", name.trim()))
    })
}

/// The socket of a row that listens on the port, as links to it read.
fn listening(row: &str, port: u16) -> Option<String> {
    const LISTENS: &str = "0A";
    let fields: Vec<&str> = row.split_whitespace().collect();
    let local = fields.get(1)?.rsplit_once(':')?.1;
    (u16::from_str_radix(local, 16) == Ok(port) && *fields.get(3)? == LISTENS)
        .then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))
        .flatten()
}

fn holds(process: &Path, sockets: &[String]) -> bool {
    let Ok(open) = std::fs::read_dir(process.join("fd")) else { return false };
    open.flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_ourselves() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(holder(port).unwrap().starts_with(&format!("{} (", std::process::id())));
        drop(listener);
        assert_eq!(holder(port), None);
    }
}
