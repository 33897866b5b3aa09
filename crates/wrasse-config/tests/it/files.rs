//! Search, overlay, includes, variables, secrets.

use std::path::{Path, PathBuf};

use wrasse_config::{
    DiskFiles, LoadOptions, MemoryFiles, ProviderApi, Secret, StateDirBy, Transport, load,
    load_with_tree, search,
};

use crate::support::{files, load_with, options, with_env};

fn server_args(config: &wrasse_config::Config) -> Vec<String> {
    match &config.mcp.servers[0].transport {
        Transport::Stdio { args, .. } => args.clone(),
        Transport::Http { .. } => panic!("a program"),
    }
}

#[test]
fn the_search_order() {
    let all =
        LoadOptions { path: Some("x.json5".into()), ..with_env(&[("WRASSE_CONFIG", "~/y.json5")]) };
    let expected =
        ["/home/node/.openclaw/x.json5", "/home/node/y.json5", "/home/node/.wrasse/wrasse.json5"];
    assert_eq!(search(&all), expected.map(PathBuf::from));
    let none = LoadOptions { path: None, ..options() };
    assert_eq!(search(&none), [PathBuf::from("/home/node/.wrasse/wrasse.json5")]);
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let faults = load(&options(), &MemoryFiles::default()).expect_err("it is not there");
    assert_eq!(faults.to_string(), "cannot read openclaw.json (--config): there is no such file");
    let by_env = LoadOptions { path: None, ..with_env(&[("WRASSE_CONFIG", "/no/file")]) };
    let faults = load(&by_env, &MemoryFiles::default()).expect_err("it is not there");
    assert_eq!(faults.to_string(), "cannot read /no/file (WRASSE_CONFIG): there is no such file");
}

#[test]
fn no_file_is_one_agent_and_a_word_about_openclaw() {
    let none = LoadOptions { path: None, ..options() };
    let config = load(&none, &MemoryFiles::default()).expect("defaults");
    assert_eq!(config.agents.list.len(), 1);
    assert_eq!(config.agents.default.as_str(), "main");
    assert_eq!(config.agents.list[0].workspace, PathBuf::from("/home/node/.wrasse/workspace"));
    assert!(
        config.warnings[0].contains("/home/node/.wrasse/wrasse.json5"),
        "{:?}",
        config.warnings
    );
    let config = load(&none, &files(&[("openclaw.json", "{}")])).expect("defaults");
    let command = "wrasse gateway run --config /home/node/.openclaw/openclaw.json";
    assert!(config.warnings[0].contains(command), "{:?}", config.warnings);
}

#[test]
fn an_overlay_lies_on_its_base() {
    let over = "{ base: '~/.openclaw/openclaw.json', mcp: { servers: { a: { lifecycle: { idle: '5s' }, args: ['z'] } } } }";
    let base = "{ mcp: { servers: { a: { command: 'x', args: ['p', 'q'] }, b: { command: 'y' } } }, agents: { defaults: { workspace: 'w' } } }";
    let list = [("/home/node/.wrasse/wrasse.json5", over), ("openclaw.json", base)];
    let loaded =
        load_with_tree(&LoadOptions { path: None, ..options() }, &files(&list)).expect("good");
    let config = &loaded.config;
    assert_eq!(config.files.len(), 2);
    assert_eq!(config.mcp.servers.len(), 2);
    assert_eq!(server_args(config), ["z"], "lists replace");
    assert_eq!(
        config.agents.list[0].workspace,
        PathBuf::from("/home/node/.openclaw/w"),
        "a path starts at its own file"
    );
    let broken = files(&[("/home/node/.wrasse/wrasse.json5", "{ base: '/no/file' }")]);
    let faults = load(&LoadOptions { path: None, ..options() }, &broken).expect_err("no base");
    assert_eq!(
        faults.to_string(),
        "/home/node/.wrasse/wrasse.json5:1:9 base: cannot read /no/file: there is no such file"
    );
}

#[test]
fn a_base_that_leads_back_is_a_fault() {
    let faults =
        load_with(&options(), "{ base: 'openclaw.json' }").map(|_| ()).expect_err("a circle");
    assert!(faults.to_string().contains("leads back to itself"), "{faults}");
}

#[test]
fn includes_merge_in_order_and_siblings_win() {
    let list = [
        (
            "openclaw.json",
            "{ mcp: { servers: { '$include': ['a.json5', 'sub/b.json5'], s: { command: 'own' } } } }",
        ),
        ("a.json5", "{ s: { command: 'a' }, t: { command: 'a', args: ['1'] } }"),
        ("sub/b.json5", "{ t: { '$include': '../c.json5' } }"),
        ("c.json5", "{ command: 'c' }"),
    ];
    let config = load(&options(), &files(&list)).expect("good");
    let commands: Vec<String> = config
        .mcp
        .servers
        .iter()
        .map(|server| match &server.transport {
            Transport::Stdio { command, args, .. } => format!("{} {command} {args:?}", server.name),
            Transport::Http { .. } => panic!("a program"),
        })
        .collect();
    assert_eq!(commands, ["s own []", "t c [\"1\"]"]);
    assert_eq!(config.mcp.servers[1].origin, "c.json5:1", "where it was defined");
}

#[test]
fn bad_includes_say_why() {
    let table: [(&[(&str, &str)], &str); 5] = [
        (
            &[("openclaw.json", "{ agents: { '$include': 'none.json' } }")],
            "openclaw.json:1:25 $include: cannot read none.json: there is no such file",
        ),
        (
            &[
                ("openclaw.json", "{ '$include': 'a.json' }"),
                ("a.json", "{ '$include': 'openclaw.json' }"),
            ],
            "leads back to itself",
        ),
        (
            &[("openclaw.json", "{ '$include': '../x.json' }"), ("/home/node/x.json", "{}")],
            "outside the folder of the configuration; move it below /home/node/.openclaw, or name its folder in OPENCLAW_INCLUDE_ROOTS",
        ),
        (&[("openclaw.json", "{ '$include': 7 }")], "expected the path of a file, found a number"),
        (
            &[("openclaw.json", "{ '$include': 'a.json' }"), ("a.json", "{ broken")],
            "a.json:1:9 expected ':' after the key",
        ),
    ];
    for (list, expected) in table {
        let faults = load(&options(), &files(list)).expect_err("bad").to_string();
        assert!(faults.contains(expected), "{faults}");
    }
}

#[test]
fn includes_nest_ten_deep() {
    let chain = |count: usize| {
        let mut all = vec![("openclaw.json".to_owned(), "{ '$include': 'f1.json' }".to_owned())];
        for n in 1..count {
            all.push((format!("f{n}.json"), format!("{{ '$include': 'f{}.json' }}", n + 1)));
        }
        all.push((format!("f{count}.json"), "{}".to_owned()));
        let all: Vec<(&str, &str)> =
            all.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        load(&options(), &files(&all))
    };
    chain(10).expect("ten are fine");
    let faults = chain(11).expect_err("eleven are not").to_string();
    assert!(faults.contains("nested more than 10 files deep"), "{faults}");
}

#[test]
fn a_link_does_not_lead_out_of_the_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    write("in/openclaw.json", "{ '$include': 'link.json' }");
    write("out/secret.json", "{}");
    std::os::unix::fs::symlink(dir.path().join("out/secret.json"), dir.path().join("in/link.json"))
        .expect("linked");
    let mut options = LoadOptions { path: Some(dir.path().join("in/openclaw.json")), ..options() };
    let faults = load(&options, &DiskFiles).expect_err("outside").to_string();
    assert!(faults.contains("outside the folder"), "{faults}");
    let root = dir.path().join("out").to_string_lossy().into_owned();
    options.env.insert("OPENCLAW_INCLUDE_ROOTS".to_owned(), root);
    load(&options, &DiskFiles).expect("now it may");
}

#[test]
fn variables_come_from_the_environment_then_dotenv_then_the_file() {
    let text = "{ env: { vars: { D: 'd-file', A: 'a-file' }, E: 'e-file' },\n\
        mcp: { servers: { s: { command: 'x', args: ['${A}', '${B}', '${C}', '${D}', '${E}', '$${A}', '${F}'] } } } }";
    let list = [
        ("openclaw.json", text),
        (".env", "A=a-cwd\nB=b-cwd"),
        ("/home/node/.wrasse/.env", "B=b-state\nC=c-state"),
    ];
    let config = load(&with_env(&[("A", "a-env")]), &files(&list)).expect("good");
    assert_eq!(
        server_args(&config),
        ["a-env", "b-cwd", "c-state", "d-file", "e-file", "${A}", "${F}"]
    );
    assert_eq!(
        config.warnings[0],
        "openclaw.json:2 mcp.servers.s.args[6]: ${F} is not set; the text is left as it is"
    );
}

#[test]
fn the_env_file_beside_an_overlaid_base_counts() {
    let list = [
        ("/home/node/.wrasse/wrasse.json5", "{ base: '~/.openclaw/openclaw.json' }"),
        ("openclaw.json", "{ gateway: { auth: { token: '${T}' } } }"),
        (".env", "T=from-openclaw"),
    ];
    let elsewhere = LoadOptions { path: None, cwd: "/elsewhere".into(), ..options() };
    let config = load(&elsewhere, &files(&list)).expect("good");
    assert_eq!(config.gateway.token, Some(Secret::new("from-openclaw")));
}

#[test]
fn secret_references() {
    let text = "{ secrets: { providers: { f: { source: 'file', path: 'keys.json' }, one: { source: 'file', path: 'one', mode: 'singleValue' } } },
      models: { providers: {
        a: { baseUrl: 'https://a/v1', apiKey: { source: 'env', provider: 'default', id: 'A_KEY' } },
        b: { baseUrl: 'https://b/v1', apiKey: { source: 'file', provider: 'f', id: '/x/y~1z' } },
        c: { baseUrl: 'https://c/v1', apiKey: { source: 'file', provider: 'one', id: 'value' } },
        d: { baseUrl: 'https://d/v1', apiKey: { source: 'exec', provider: 'v', id: 'k' } },
        e: { baseUrl: 'https://e/v1', apiKey: { source: 'env', provider: 'default', id: 'NONE' } },
        f: { baseUrl: 'https://f/v1' },
      } } }";
    let list = [("openclaw.json", text), ("keys.json", "{ x: { 'y/z': 'kb' } }"), ("one", "kc\n")];
    let config =
        load(&with_env(&[("A_KEY", "ka"), ("F_API_KEY", "kf")]), &files(&list)).expect("good");
    let keys: Vec<Option<&str>> = config
        .models
        .providers
        .iter()
        .map(|provider| match &provider.api {
            ProviderApi::OpenAiCompletions { api_key, .. } => api_key.as_ref().map(Secret::reveal),
            ProviderApi::Scripted { .. } | ProviderApi::Unsupported { .. } => panic!("completions"),
        })
        .collect();
    assert_eq!(keys, [Some("ka"), Some("kb"), Some("kc"), None, None, Some("kf")]);
    let said = config.warnings.join("\n");
    assert!(said.contains("secrets from \"exec\" are not supported"), "{said}");
    assert!(said.contains("the variable NONE of this secret is not set"), "{said}");
}

#[test]
fn the_file_may_choose_the_state_dir_where_nobody_else_did() {
    let text = "{ stateDir: './own' }";
    let config = load(&options(), &files(&[("openclaw.json", text)])).expect("good");
    assert_eq!(config.state_dir, Path::new("/home/node/.openclaw/own"));
    assert_eq!(config.agents.list[0].workspace, Path::new("/home/node/.openclaw/own/workspace"));
    let asked = LoadOptions { state_dir_by: StateDirBy::Person, ..options() };
    let config = load(&asked, &files(&[("openclaw.json", text)])).expect("good");
    assert_eq!(config.state_dir, Path::new("/home/node/.wrasse"));
}
