use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use wrasse_store::{Endpoint, StateDir, StateDirError};
use wrasse_types::UnixMillis;

use crate::support::state_dir;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn it_is_made_private_with_its_parents() {
    let home = tempfile::tempdir().unwrap();
    let dir = StateDir::open(&home.path().join("a/b/state")).unwrap();
    assert_eq!(mode(dir.path()), 0o700);
}

#[test]
fn an_open_one_is_closed_if_it_is_ours_and_refused_if_it_is_not() {
    let home = tempfile::tempdir().unwrap();
    let ours = home.path().join("ours");
    std::fs::create_dir(&ours).unwrap();
    std::fs::write(ours.join("wrasse.json5"), "{}").unwrap();
    set_mode(&ours, 0o755);
    StateDir::open(&ours).unwrap();
    assert_eq!(mode(&ours), 0o700);

    let empty = home.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    set_mode(&empty, 0o755);
    StateDir::open(&empty).unwrap();
    assert_eq!(mode(&empty), 0o700);

    let shared = home.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("somebody.else"), "").unwrap();
    set_mode(&shared, 0o777);
    let refused = StateDir::open(&shared).unwrap_err();
    assert!(matches!(refused, StateDirError::OpenToOthers { .. }), "{refused}");
    assert_eq!(mode(&shared), 0o777, "left as it was");
    assert!(refused.to_string().contains("--state-dir"));

    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(StateDir::open(&file), Err(StateDirError::NotADirectory { .. })));
}

#[test]
fn the_token_is_made_once_and_private() {
    let (_home, dir) = state_dir();
    let token = dir.token().unwrap();
    assert_eq!(token.len(), 64);
    assert!(token.chars().all(|c| c.is_ascii_hexdigit()));
    assert_eq!(dir.token().unwrap(), token);
    let file = dir.path().join("token");
    assert_eq!(mode(&file), 0o600);

    set_mode(&file, 0o644);
    assert_eq!(dir.token().unwrap(), token);
    assert_eq!(mode(&file), 0o600, "closed again");

    std::fs::write(&file, "").unwrap();
    assert_ne!(dir.token().unwrap(), token, "an empty file is no token");
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 1, "no temporary file is left");
}

#[test]
fn of_many_first_users_of_the_token_all_get_one() {
    let (_home, dir) = state_dir();
    let tokens: Vec<String> = std::thread::scope(|scope| {
        let users: Vec<_> = (0..8).map(|_| scope.spawn(|| dir.token().unwrap())).collect();
        users.into_iter().map(|user| user.join().unwrap()).collect()
    });
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
}

#[test]
fn a_copied_directory_is_a_new_installation_and_a_moved_one_is_not() {
    let (home, dir) = state_dir();
    let number = dir.installation().unwrap();
    assert_eq!(dir.installation().unwrap(), number);

    let moved = home.path().join("moved");
    std::fs::rename(dir.path(), &moved).unwrap();
    let moved = StateDir::open(&moved).unwrap();
    assert_eq!(moved.installation().unwrap(), number);

    let copies: Vec<u16> = (0..3)
        .map(|n| {
            let copy = StateDir::open(&home.path().join(format!("copy{n}"))).unwrap();
            let file = Path::new("installation");
            std::fs::copy(moved.path().join(file), copy.path().join(file)).unwrap();
            let new = copy.installation().unwrap();
            assert_eq!(copy.installation().unwrap(), new);
            new
        })
        .collect();
    assert!(copies.iter().any(|new| *new != number), "three equal numbers by chance: 1 in 10^14");
    assert_eq!(moved.installation().unwrap(), number);
}

#[test]
fn a_damaged_installation_file_is_replaced() {
    let (_home, dir) = state_dir();
    std::fs::write(dir.path().join("installation"), "{").unwrap();
    let number = dir.installation().unwrap();
    assert_eq!(dir.installation().unwrap(), number);
}

#[test]
fn the_endpoint_comes_and_goes() {
    let (_home, dir) = state_dir();
    assert_eq!(dir.read_endpoint().unwrap(), None);
    dir.remove_endpoint().unwrap();
    let endpoint = Endpoint {
        port: 18790,
        pid: 7,
        warden_pid: Some(1),
        pid_namespace: wrasse_store::own_pid_namespace(),
        started_at: UnixMillis::new(1_760_000_000_123),
    };
    assert!(endpoint.pid_namespace.is_some() && endpoint.numbers_are_ours());
    assert!(!Endpoint { pid_namespace: Some(1), ..endpoint }.numbers_are_ours());
    assert!(Endpoint { pid_namespace: None, ..endpoint }.numbers_are_ours());
    dir.write_endpoint(&endpoint).unwrap();
    dir.write_endpoint(&endpoint).unwrap();
    assert_eq!(dir.read_endpoint().unwrap(), Some(endpoint));
    assert_eq!(mode(&dir.path().join("endpoint.json")), 0o600);
    dir.remove_endpoint().unwrap();
    assert_eq!(dir.read_endpoint().unwrap(), None);
}
