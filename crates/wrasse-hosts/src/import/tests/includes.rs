//! OpenClaw's `$include`: an entry is changed in the file it stands in.

use super::*;

fn openclaw(files: &[(&str, &str)]) -> Home {
    let home = Home::new(Host::OpenClaw);
    for (name, text) in files {
        home.write(&format!(".openclaw/{name}"), text);
    }
    home
}

#[test]
fn an_entry_is_changed_where_it_stands() {
    let main = "{ mcp: { servers: { $include: './parts/servers.json5', own: { command: 'a' } } } }";
    let servers = "{ // here\n  fs: { command: 'npx', args: ['-y'] },\n  one: { $include: './one.json' },\n}\n";
    let one = r#"{"command":"one"}"#;
    let home = openclaw(&[
        ("openclaw.json", main),
        ("parts/servers.json5", servers),
        ("parts/one.json", one),
    ]);
    let plan = home.wrap(&[]).unwrap();
    let at: Vec<&str> = plan.files.iter().flat_map(|f| &f.entries).map(|e| e.at.as_str()).collect();
    assert_eq!(at, ["mcp.servers.own", "mcp.servers.fs", "mcp.servers.one"]);
    assert_eq!(
        home.read(".openclaw/parts/servers.json5"),
        servers.replace(
            "'npx', args: [",
            "\"/opt/bin/wrasse\", args: [\"wrap\", \"--name\", \"fs\", \"--\", 'npx', "
        )
    );
    assert_eq!(
        home.read(".openclaw/parts/one.json"),
        r#"{"command":"/opt/bin/wrasse", "args": ["wrap", "--name", "one", "--", "one"]}"#
    );
    home.undo().unwrap();
    let now = ["openclaw.json", "parts/servers.json5", "parts/one.json"]
        .map(|name| home.read(&format!(".openclaw/{name}")));
    assert_eq!(now, [main, servers, one]);
    home.wrap(&[]).unwrap();
    home.entries_only().unwrap();
    let now = ["openclaw.json", "parts/servers.json5", "parts/one.json"]
        .map(|name| home.read(&format!(".openclaw/{name}")));
    assert_eq!(now, [main, servers, one]);
}

#[test]
fn an_included_file_that_was_changed_since_says_what_changed() {
    let servers = "{ fs: { command: 'npx' } }";
    let home = openclaw(&[
        ("openclaw.json", "{ mcp: { servers: { $include: 's.json5' } } }"),
        ("s.json5", servers),
    ]);
    home.wrap(&[]).unwrap();
    let theirs = home.read(".openclaw/s.json5").replacen('{', "{ more: { command: 'm' },", 1);
    home.write(".openclaw/s.json5", &theirs);
    let refused = home.undo().unwrap_err();
    let ImportError::ChangedSince { changed, .. } = &refused else { panic!("{refused}") };
    assert_eq!(changed, &["more"]);
    home.entries_only().unwrap();
    assert_eq!(
        home.read(".openclaw/s.json5"),
        servers.replacen('{', "{ more: { command: 'm' },", 1)
    );
}

#[test]
fn what_several_places_define_is_left() {
    let home = openclaw(&[
        ("openclaw.json", "{ $include: ['a.json', 'b.json'] }"),
        ("a.json", "{ mcp: { servers: { fs: { command: 'a' }, two: { command: 'x' } } } }"),
        ("b.json", "{ mcp: { servers: { fs: { args: ['b'] } } } }"),
    ]);
    let plan = home.wrap(&[]).unwrap();
    assert_eq!(plan.passed.len(), 1);
    assert!(plan.passed[0].why.contains("several places"), "{:?}", plan.passed);
    assert_eq!(plan.files[0].entries[0].name, "two");
    let home = openclaw(&[
        (
            "openclaw.json",
            "{ mcp: { servers: { a: { $include: 's.json' }, b: { $include: 's.json' } } } }",
        ),
        ("s.json", "{ command: 'x' }"),
    ]);
    let plan = home.wrap(&[]).unwrap();
    assert!(plan.is_empty() && plan.passed.len() == 2, "{plan:?}");
}

#[test]
fn includes_that_openclaw_refuses_are_refused() {
    let table = [
        ("{ $include: 'gone.json' }", "cannot be read"),
        ("{ $include: 'openclaw.json' }", "leads back"),
        ("{ $include: 'circle.json' }", "leads back"),
        ("{ $include: '../outside.json' }", "outside"),
    ];
    for (text, why) in table {
        let home = openclaw(&[
            ("openclaw.json", text),
            ("circle.json", "{ $include: ['other.json', 'circle2.json'] }"),
            ("circle2.json", "{ $include: 'other.json' }"),
            ("other.json", "{ $include: 'circle2.json' }"),
            ("../outside.json", "{}"),
        ]);
        let refused = home.wrap(&[]).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let mut home = openclaw(&[
        ("openclaw.json", "{ $include: '../outside.json' }"),
        ("../outside.json", "{ mcp: { servers: { a: { command: 'x' } } } }"),
    ]);
    home.env.insert("OPENCLAW_INCLUDE_ROOTS".into(), home.path("").display().to_string());
    assert_eq!(home.wrap(&[]).unwrap().files.len(), 1);
}
