//! Putting back: whole, entry by entry, after other people's changes, twice, and with damaged records.

use super::*;

const TWO: &str = r#"{"mcpServers":{"a":{"command":"x"},"b":{"command":"y","args":["1"]}}}"#;

#[test]
fn two_wraps_are_undone_by_one_undo() {
    let home = Home::with(Host::Cursor, TWO);
    home.wrap(&["a"]).unwrap();
    home.wrap(&["b"]).unwrap();
    assert_eq!(home.file().matches("\"wrap\"").count(), 2);
    home.undo().unwrap();
    assert_eq!(home.file(), TWO);
    home.assert_clean();
}

#[test]
fn two_wraps_with_somebody_elses_change_between_them() {
    let home = Home::with(Host::Cursor, TWO);
    home.wrap(&["a"]).unwrap();
    home.write(usual(Host::Cursor), home.file().replacen('{', "{\"theirs\":1,", 1));
    home.wrap(&["b"]).unwrap();
    home.undo().unwrap();
    assert_eq!(home.file(), TWO.replacen('{', "{\"theirs\":1,", 1));
    home.assert_clean();
}

#[test]
fn a_file_that_was_changed_since_is_refused_and_says_what_changed() {
    let home = Home::with(Host::ClaudeCode, TWO);
    home.wrap(&[]).unwrap();
    let theirs = home.file().replacen('{', "{\"numStartups\":7,", 1);
    home.write(usual(Host::ClaudeCode), &theirs);
    let refused = home.undo().unwrap_err();
    let ImportError::ChangedSince { changed, original, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(changed, &["numStartups"]);
    assert_eq!(std::fs::read_to_string(original).unwrap(), TWO);
    assert_eq!(home.file(), theirs);
    home.entries_only().unwrap();
    assert_eq!(home.file(), TWO.replacen('{', "{\"numStartups\":7,", 1));
    home.assert_clean();
}

#[test]
fn a_change_of_layout_alone_is_said_to_be_one() {
    let home = Home::with(Host::Cursor, TWO);
    home.wrap(&[]).unwrap();
    home.write(usual(Host::Cursor), format!("{}\n", home.file()));
    let ImportError::ChangedSince { changed, .. } = home.undo().unwrap_err() else { panic!() };
    assert_eq!(changed, ["only spaces, comments or the order of keys"]);
}

/// Arguments that were added to a wrapped entry stay with the server.
#[test]
fn what_was_added_to_a_wrapped_entry_stays() {
    let home = Home::with(Host::Cursor, TWO);
    home.wrap(&[]).unwrap();
    home.write(usual(Host::Cursor), home.file().replace("\"x\"]", "\"x\", \"--new\"]"));
    home.entries_only().unwrap();
    assert_eq!(
        home.file(),
        TWO.replace(r#"{"command":"x"}"#, r#"{"command":"x", "args": ["--new"]}"#)
    );
}

/// An entry that was wrapped by hand before stays so; one that was removed since is no obstacle.
#[test]
fn entries_of_others_stay() {
    let by_hand = r#"{"mcpServers":{"h":{"command":"wrasse","args":["wrap","--idle","off","--","z"]},"a":{"command":"x"}}}"#;
    let home = Home::with(Host::Cursor, by_hand);
    assert_eq!(home.wrap(&[]).unwrap().files[0].entries.len(), 1);
    home.write(usual(Host::Cursor), home.file().replacen('{', "{ ", 1));
    let plan = home.entries_only().unwrap();
    assert_eq!(plan.passed[0].name, "h");
    assert_eq!(home.file(), by_hand.replacen('{', "{ ", 1));
    let home = Home::with(Host::Cursor, TWO);
    home.wrap(&["a"]).unwrap();
    home.write(usual(Host::Cursor), r#"{"mcpServers":{}}"#);
    assert!(home.entries_only().unwrap().is_empty());
    home.assert_clean();
}

#[test]
fn who_undid_it_by_hand_has_nothing_left_to_undo() {
    let home = Home::with(Host::Cursor, TWO);
    home.wrap(&[]).unwrap();
    home.write(usual(Host::Cursor), TWO);
    assert!(home.undo().unwrap().is_empty());
    home.assert_clean();
}

#[test]
fn a_file_that_is_gone_is_said_to_be() {
    let home = Home::with(Host::Cursor, TWO);
    home.wrap(&[]).unwrap();
    std::fs::remove_file(home.path(usual(Host::Cursor))).unwrap();
    for refused in [home.undo().unwrap_err(), home.entries_only().unwrap_err()] {
        let ImportError::FileGone { original, .. } = &refused else { panic!("{refused}") };
        assert_eq!(std::fs::read_to_string(original).unwrap(), TWO);
    }
}

#[test]
fn damaged_records_are_refused_and_nothing_is_written() {
    let home = Home::with(Host::Cursor, TWO);
    home.wrap(&[]).unwrap();
    let wrapped = home.file();
    let record = home.records().of(Host::Cursor).unwrap().remove(0);
    let original = home.records().original_path(Host::Cursor, &record.path);
    std::fs::write(&original, "{}").unwrap();
    assert!(matches!(home.undo().unwrap_err(), ImportError::RecordDamaged { .. }));
    std::fs::write(original.with_extension("json"), "{").unwrap();
    assert!(matches!(home.undo().unwrap_err(), ImportError::RecordDamaged { .. }));
    assert!(matches!(home.wrap(&[]).unwrap_err(), ImportError::RecordDamaged { .. }));
    assert_eq!(home.file(), wrapped);
}

/// A crash between the record and the file leaves a record of what never came to be.
#[test]
fn a_record_without_its_change_is_no_obstacle() {
    let home = Home::with(Host::Cursor, TWO);
    home.wrap(&[]).unwrap();
    home.write(usual(Host::Cursor), TWO);
    home.wrap(&["a"]).unwrap();
    home.undo().unwrap();
    assert_eq!(home.file(), TWO);
    home.assert_clean();
}

#[test]
fn records_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::with(Host::Cursor, TWO);
    home.wrap(&[]).unwrap();
    let mut dirs = vec![home.path("state")];
    while let Some(path) = dirs.pop() {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            dirs.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            assert_eq!(mode & 0o077, 0, "{}", path.display());
        }
    }
}

#[test]
fn a_project_file_is_changed_only_when_named() {
    let mut home = Home::with(Host::Cursor, TWO);
    home.write("work/.cursor/mcp.json", TWO);
    assert_eq!(home.find().unwrap().project.as_deref(), Some(Path::new("~/work/.cursor/mcp.json")));
    home.wrap(&[]).unwrap();
    assert_eq!(home.read("work/.cursor/mcp.json"), TWO);
    home.place = Where::File(".cursor/mcp.json".into());
    home.wrap(&[]).unwrap();
    assert_ne!(home.read("work/.cursor/mcp.json"), TWO);
    // Undoing the one leaves the other.
    home.undo().unwrap();
    assert_eq!(home.read("work/.cursor/mcp.json"), TWO);
    assert_ne!(home.file(), TWO);
    home.place = Where::Usual;
    home.undo().unwrap();
    assert_eq!(home.file(), TWO);
}
