//! Files as the operating system sees them: links, modes, owners, directories, and other people writing.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::super::plan::FileChange;
use super::*;

const TEXT: &str = r#"{"mcpServers":{"a":{"command":"x","args":["1"]}}}"#;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn mode_survives_both_ways() {
    for mode in [0o600, 0o644, 0o660, 0o444] {
        let home = Home::with(Host::Cursor, TEXT);
        let path = home.path(usual(Host::Cursor));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let now = || std::fs::metadata(&path).unwrap().mode() & 0o7777;
        home.wrap(&[]).unwrap();
        assert_eq!(now(), mode);
        home.undo().unwrap();
        assert_eq!(now(), mode);
        assert_eq!(home.file(), TEXT);
    }
}

/// As root: the file stays its owner's, also when written by another.
#[test]
fn the_owner_survives() {
    let home = Home::with(Host::Cursor, TEXT);
    let path = home.path(usual(Host::Cursor));
    if let Err(error) = std::os::unix::fs::chown(&path, Some(65534), Some(65534)) {
        return skipped("the_owner_survives", &format!("no file can be given away: {error}"));
    }
    home.wrap(&[]).unwrap();
    home.undo().unwrap();
    let now = std::fs::metadata(&path).unwrap();
    assert_eq!((now.uid(), now.gid()), (65534, 65534));
}

#[test]
fn a_symbolic_link_is_written_through() {
    let home = Home::new(Host::Cursor);
    home.write("dotfiles/cursor.json", TEXT);
    let link = home.path(usual(Host::Cursor));
    std::fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink("../dotfiles/cursor.json", &link).unwrap();
    home.wrap(&[]).unwrap();
    assert!(link.is_symlink());
    assert!(home.read("dotfiles/cursor.json").contains("wrap"));
    home.undo().unwrap();
    assert!(link.is_symlink());
    assert_eq!(home.read("dotfiles/cursor.json"), TEXT);
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_before_anything_is() {
    if is_root() {
        let test = "a_directory_that_cannot_be_written_is_refused_before_anything_is";
        return skipped(test, "root can write into every directory");
    }
    let home = Home::with(Host::Cursor, TEXT);
    let dir = home.path(".cursor");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o500)).unwrap();
    let refused = home.wrap(&[]).unwrap_err();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(refused.to_string().contains(".cursor"), "{refused}");
    assert_eq!(home.file(), TEXT);
    home.assert_clean();
}

#[test]
fn a_file_that_cannot_be_read_is_refused() {
    let home = Home::with(Host::Cursor, TEXT);
    let path = home.path(usual(Host::Cursor));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let refused = home.wrap(&[]).unwrap_err();
    assert!(matches!(refused, ImportError::Io { what: "read", .. }), "{refused}");
    std::fs::remove_dir(&path).unwrap();
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
    let refused = home.wrap(&[]).unwrap_err().to_string();
    assert!(refused.contains("not a regular file"), "{refused}");
    let home = Home::new(Host::Cursor);
    let refused = home.wrap(&[]).unwrap_err().to_string();
    assert!(refused.contains("~/.cursor/mcp.json"), "{refused}");
}

/// Between reading and writing somebody else wrote: theirs stays.
#[test]
fn a_change_meanwhile_is_not_overwritten() {
    let home = Home::with(Host::Cursor, TEXT);
    let plan = home.find().unwrap().wrap(&[], &shim(), &home.records()).unwrap();
    let theirs = TEXT.replace("\"1\"", "\"2\"");
    home.write(usual(Host::Cursor), &theirs);
    let refused = plan.write(&home.records()).unwrap_err();
    assert!(matches!(refused, ImportError::Concurrent { .. }), "{refused}");
    assert_eq!(home.file(), theirs);
    home.assert_clean();
}

/// Even when it falls between the last look and the exchange.
#[test]
fn a_change_in_the_last_moment_is_put_back() {
    use super::super::file::{Committed, Staged, hash};
    let home = Home::with(Host::Cursor, TEXT);
    let path = home.path(usual(Host::Cursor));
    let staged = Staged::new(&path, b"ours").unwrap();
    home.write(usual(Host::Cursor), "theirs");
    let committed = staged.commit(&hash(TEXT.as_bytes())).unwrap();
    assert_eq!(committed, Committed::ChangedMeanwhile);
    assert_eq!(home.file(), "theirs");
    home.assert_clean();
}

/// A file that is mounted by itself cannot be replaced; then nothing is, and no record says it was.
#[test]
fn a_file_that_is_mounted_is_refused() {
    const TEST: &str = "import::tests::files::a_file_that_is_mounted_is_refused";
    let Some(dir) = std::env::var_os("WRASSE_TEST_MOUNTED").map(std::path::PathBuf::from) else {
        let home = Home::with(Host::Cursor, TEXT);
        let own = std::env::current_exe().unwrap();
        let script = "mount --bind \"$F\" \"$F\" || exit 99; exec \"$0\" --exact \"$1\"";
        #[expect(clippy::disallowed_methods, reason = "this test again, with a mount")]
        let ran = std::process::Command::new("unshare")
            .args(["-rm", "sh", "-c", script])
            .args([own.as_os_str(), TEST.as_ref()])
            .env("F", home.path(usual(Host::Cursor)))
            .env("WRASSE_TEST_MOUNTED", home.path(""))
            .output();
        match ran {
            Ok(ran) if ran.status.success() => {
                assert_eq!(home.file(), TEXT);
                home.assert_clean();
            }
            Ok(ran) if ran.status.code() == Some(101) => {
                panic!("{}", String::from_utf8_lossy(&ran.stdout))
            }
            Ok(_) | Err(_) => skipped(TEST, "no mount may be made here"),
        }
        return;
    };
    let around = Surroundings { home: Some(dir.clone()), cwd: dir.clone(), ..Default::default() };
    let records = Records::below(&dir.join("state"));
    let found = find(Host::Cursor, &around, &Where::Usual).unwrap();
    let refused = found.wrap(&[], &shim(), &records).unwrap().write(&records).unwrap_err();
    assert!(matches!(refused, ImportError::Mounted { .. }), "{refused}");
}

#[expect(clippy::print_stderr, reason = "a test says what it skips")]
fn skipped(test: &str, why: &str) {
    eprintln!("skipped {test}: {why}");
}

/// Whoever reads while the file is written sees the old text or the new one.
#[test]
fn readers_never_see_half_a_file() {
    let text = format!("{{\"pad\":\"{}\",{}", "p".repeat(1 << 16), &TEXT[1..]);
    let home = Home::with(Host::Cursor, &text);
    let path = home.path(usual(Host::Cursor));
    let wrapped = {
        home.wrap(&[]).unwrap();
        let wrapped = home.file();
        home.undo().unwrap();
        wrapped
    };
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let seen = std::fs::read_to_string(&path).unwrap();
                assert!(seen == text || seen == wrapped, "{} bytes", seen.len());
            }
        });
        for _ in 0..20 {
            home.wrap(&[]).unwrap();
            home.undo().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    home.assert_clean();
}

/// Two imports at once: one waits for the other, and sees what it did.
#[test]
fn two_at_once_do_not_lose_anything() {
    let home = Home::with(Host::Cursor, TEXT);
    let plans: Vec<Plan> =
        (0..2).map(|_| home.find().unwrap().wrap(&[], &shim(), &home.records()).unwrap()).collect();
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            plans.iter().map(|plan| scope.spawn(|| plan.write(&home.records()))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    home.undo().unwrap();
    assert_eq!(home.file(), TEXT);
}

/// A host with several files: each is put back.
#[test]
fn several_files_are_one_undo() {
    let servers = r#"{"servers":{"a":{"command":"x"}}}"#;
    let home = Home::with(Host::VsCode, servers);
    home.write(".config/Code/User/profiles/p1/mcp.json", servers);
    home.write(".config/VSCodium/User/mcp.json", servers);
    let plan = home.wrap(&[]).unwrap();
    let files: Vec<&FileChange> = plan.files.iter().collect();
    assert_eq!(files.len(), 3);
    assert_eq!(home.undo().unwrap().files.len(), 3);
    for name in [usual(Host::VsCode), ".config/Code/User/profiles/p1/mcp.json"] {
        assert_eq!(home.read(name), servers);
    }
}

#[test]
fn variables_of_the_hosts_name_their_files() {
    let table: [(Host, &str, &str, &str); 6] = [
        (Host::OpenClaw, "OPENCLAW_CONFIG_PATH", "~/x/c.json", "x/c.json"),
        (Host::OpenClaw, "OPENCLAW_STATE_DIR", "~/s", "s/openclaw.json"),
        (Host::OpenClaw, "OPENCLAW_PROFILE", "p", ".openclaw-p/openclaw.json"),
        (Host::ClaudeCode, "CLAUDE_CONFIG_DIR", "~/c", "c/.claude.json"),
        (Host::Codex, "CODEX_HOME", "~/c", "c/config.toml"),
        (Host::Gemini, "GEMINI_CLI_HOME", "~/g", "g/.gemini/settings.json"),
    ];
    for (host, name, value, file) in table {
        let mut home = Home::new(host);
        home.env.insert(name.to_owned(), value.to_owned());
        assert_eq!(host.files(&home.around()), [home.path(file)], "{name}");
        // An empty variable is none.
        home.env.insert(name.to_owned(), String::new());
        assert_eq!(host.files(&home.around()), [home.path(usual(host))], "{name}");
    }
}
