//! Each section, table by table.

use std::path::PathBuf;
use std::time::Duration;

use wrasse_config::{
    Compat, Durability, GuardSource, Idle, JobTarget, LoadOptions, ProviderApi, Reset, Secret,
    ServerLimits, Transport, load,
};

use crate::support::{files, good, load_with, options, with_env};

const REPORT: &str = r#"{
  "mcp": { "servers": {
    "filesystem": { "command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/node/.openclaw/workspace"] },
    "context7":   { "command": "npx", "args": ["-y", "@upstash/context7-mcp"] },
    "sqlite":     { "command": "npx", "args": ["-y", "mcp-server-sqlite-npx", "/home/node/.openclaw/workspace/projects/health-fitness/data/health.db"] }
  } }
}"#;

#[test]
fn the_configuration_of_the_report() {
    let config = good(REPORT);
    assert_eq!(config.agents.list.len(), 1);
    assert_eq!(config.agents.default.as_str(), "main");
    let names: Vec<&str> = config.mcp.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["context7", "filesystem", "sqlite"]);
    let sqlite = &config.mcp.servers[2];
    assert_eq!(sqlite.origin, "openclaw.json:5");
    let Transport::Stdio { command, args, env, cwd } = &sqlite.transport else {
        panic!("a program")
    };
    assert_eq!((command.as_str(), args[1].as_str()), ("npx", "mcp-server-sqlite-npx"));
    assert!(env.is_empty() && cwd.is_none() && sqlite.enabled);
    assert_eq!(sqlite.lifecycle.idle, Idle::Run);
    assert_eq!(sqlite.lifecycle.stop_eof, Duration::from_secs(2));
    assert_eq!(sqlite.lifecycle.stop_term, Duration::from_secs(3));
    assert_eq!(sqlite.connection_timeout, Duration::from_secs(30));
    assert_eq!(sqlite.request_timeout, Duration::from_secs(60));
    assert!(config.denied_tools.is_empty() && config.unused_keys.is_empty());
}

#[test]
fn a_glob_withholds_dangerous_variables_with_one_warning() {
    let env = with_env(&[("LD_PRELOAD", "/x.so"), ("NODE_OPTIONS", "-r x"), ("GITHUB_TOKEN", "t")]);
    let warnings = |names: &str| {
        let text = format!("{{ mcp: {{ inheritEnv: {names} }} }}");
        let all = load_with(&env, &text).unwrap().config.warnings;
        all.into_iter().filter(|warning| warning.contains("inheritEnv")).collect::<Vec<_>>()
    };
    let said = warnings("['*']");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("LD_PRELOAD, NODE_OPTIONS") && said[0].contains("in full"),
        "{said:?}"
    );
    assert!(!said[0].contains("GITHUB_TOKEN"), "{said:?}");
    assert_eq!(warnings("['GITHUB_*', 'LD_PRELOAD']"), [""; 0]);
}

#[test]
fn a_model_that_cannot_answer_is_warned_of() {
    let of = |text: &str| good(text).warnings;
    let script = "{ models: { providers: { s: { api: 'scripted', script: 'gone.json5' } } },
        agents: { defaults: { model: 's/x' } } }";
    let said = of(script);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("script") && said[0].contains("gone.json5 cannot be read"),
        "{said:?}"
    );
    let said = of("{ agents: { defaults: { model: 'anthropic/claude' } } }");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("speaks \"anthropic-messages\", which is not implemented"),
        "{said:?}"
    );
}

#[test]
fn both_shapes_of_agents_mean_the_same() {
    let list = "{ agents: { defaults: { subagents: { maxSpawnDepth: 2 }, model: { primary: 'a/x', fallbacks: ['b/y'] } },
        list: [{ id: 'worker', model: 'c/z' }, { id: 'hub', default: true, name: 'Hub', subagents: { allowAgents: ['worker'] } }] } }";
    let entries = "{ agents: { defaults: { subagents: { maxSpawnDepth: 2 }, model: { primary: 'a/x', fallbacks: ['b/y'] } },
        entries: { worker: { model: 'c/z' }, hub: { default: true, name: 'Hub', subagents: { allowAgents: ['worker'] } } } } }";
    for text in [list, entries] {
        let agents = good(text).agents;
        assert_eq!(agents.default.as_str(), "hub");
        let worker = &agents.list[0];
        assert_eq!(
            (worker.id.as_str(), worker.models.as_slice()),
            ("worker", &["c/z".to_owned()][..])
        );
        assert_eq!(worker.workspace, PathBuf::from("/home/node/.wrasse/workspace-worker"));
        assert_eq!(worker.subagents.max_depth, 2);
        let hub = &agents.list[1];
        assert_eq!(hub.models, ["a/x", "b/y"]);
        assert_eq!(hub.workspace, PathBuf::from("/home/node/.wrasse/workspace"));
        assert_eq!(hub.subagents.allow_agents, ["worker"]);
        assert_eq!(hub.run_timeout, Some(Duration::from_secs(172_800)));
        assert_eq!(hub.model_idle_timeout, Some(Duration::from_secs(120)));
    }
}

#[test]
fn who_is_the_default_agent() {
    let table = [
        ("list: [{ id: 'a' }, { id: 'b' }]", "a"),
        ("list: [{ id: 'a' }, { id: 'main' }]", "main"),
        ("list: [{ id: 'a' }, { id: 'main' }, { id: 'c', default: true }]", "c"),
        ("entries: { a: {}, b: {} }, defaults: { systemAgent: { agentId: 'b' } }", "b"),
        ("list: []", "main"),
    ];
    for (text, expected) in table {
        assert_eq!(
            good(&format!("{{ agents: {{ {text} }} }}")).agents.default.as_str(),
            expected,
            "{text}"
        );
    }
}

#[test]
fn compat_picks_the_defaults() {
    let table = [
        ("{}", Compat::V2026_9),
        ("{ compat: '2026.4' }", Compat::V2026_4),
        ("{ compat: '2026.9', meta: { lastTouchedVersion: '2026.4.15' } }", Compat::V2026_9),
        ("{ meta: { lastTouchedVersion: '2026.4.15' } }", Compat::V2026_4),
        ("{ meta: { lastTouchedVersion: '2026.2.6-3' } }", Compat::V2026_4),
        ("{ meta: { lastTouchedVersion: '2026.9.8' } }", Compat::V2026_9),
        ("{ meta: { lastTouchedVersion: '2027.1.1' } }", Compat::V2026_9),
        ("{ meta: { lastTouchedVersion: 'dev' } }", Compat::V2026_9),
    ];
    for (text, compat) in table {
        let config = good(text);
        assert_eq!(config.compat, compat, "{text}");
        let (depth, lane, runs, reset) = match compat {
            Compat::V2026_4 => (1, 4, 1, Reset::Daily { at_hour: 4 }),
            Compat::V2026_9 => (5, 12, 8, Reset::None),
        };
        assert_eq!(config.agents.list[0].subagents.max_depth, depth);
        assert_eq!(config.agents.max_concurrent, lane);
        assert_eq!(config.cron.max_concurrent_runs, runs);
        assert_eq!(config.session.reset, reset);
    }
}

#[test]
fn how_long_an_instance_stays() {
    let table = [
        ("", "", Idle::Run),
        ("sessionIdleTtlMs: 0,", "", Idle::Run),
        ("sessionIdleTtlMs: 90000,", "", Idle::For(Duration::from_secs(90))),
        ("sessionIdleTtlMs: 90000,", "lifecycle: { idle: 'run' }", Idle::Run),
        ("", "lifecycle: { idle: '30s' }", Idle::For(Duration::from_secs(30))),
        ("", "lifecycle: { idle: '0s' }", Idle::Run),
        ("", "lifecycle: { idle: 'off' }", Idle::Off),
    ];
    for (mcp, server, idle) in table {
        let text = format!("{{ mcp: {{ {mcp} servers: {{ s: {{ command: 'x', {server} }} }} }} }}");
        assert_eq!(good(&text).mcp.servers[0].lifecycle.idle, idle, "{text}");
    }
}

#[test]
fn a_server_in_full() {
    let config = good(
        "{ mcp: { inheritEnv: ['FOO'], limits: { processes: 200, memory: '3GiB', startConcurrency: 2 }, servers: {
            s: { command: 'x', args: ['a', 7, 'b'], env: { A: 'text', B: 5, C: true, NODE_OPTIONS: '-r x', LD_PRELOAD: 'y', AWS_CONFIG_FILE: 'z' },
                 workingDirectory: '~/w', requestTimeoutMs: '1500', toolFilter: { include: ['read_*'], exclude: 'write' }, enabled: false,
                 lifecycle: { scope: 'shared', start: 'lazy', launch: 'auto', memoryMax: '512MiB', processesMax: 40, nice: 5, oomScoreAdj: 700, addressSpaceMax: '2GiB', stop: { eof: '500ms', term: '1s' } } },
            h: { url: 'https://h/mcp', transport: 'streamable-http', headers: { X: 'y' } } } } }",
    );
    assert_eq!(config.mcp.inherit_env.names, ["FOO"]);
    assert_eq!((config.mcp.start_concurrency, config.mcp.processes), (2, Some(200)));
    assert_eq!(
        config.mcp.servers[0].transport,
        Transport::Http { url: "https://h/mcp".to_owned() }
    );
    let server = &config.mcp.servers[1];
    let Transport::Stdio { args, env, cwd, .. } = &server.transport else { panic!("a program") };
    assert_eq!(args, &["a", "b"]);
    let env: Vec<(&str, &str)> =
        env.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(env, [("A", "text"), ("B", "5"), ("C", "true")]);
    assert_eq!(cwd, &Some(PathBuf::from("/home/node/w")));
    assert_eq!(server.request_timeout, Duration::from_millis(1500));
    assert_eq!(
        (server.include.as_slice(), server.exclude.as_slice()),
        (&["read_*".to_owned()][..], &["write".to_owned()][..])
    );
    assert!(!server.enabled);
    assert_eq!(server.lifecycle.stop_eof, Duration::from_millis(500));
    let limits = ServerLimits {
        memory_max: Some(512 << 20),
        processes_max: Some(40),
        nice: Some(5),
        oom_score_adj: Some(700),
        address_space_max: Some(2 << 30),
    };
    assert_eq!(server.lifecycle.limits, limits);
    insta::assert_snapshot!(config.warnings.join("\n"));
}

#[test]
fn providers_configured_and_built_in() {
    let text = "{ agents: { defaults: { model: 'fast', models: { 'groq/llama': { alias: 'fast' } } }, list: [{ id: 'a', model: 'anthropic/c' }, { id: 'b' }] },
      models: { providers: {
        mine: { baseUrl: 'http://127.0.0.1:8080/v1/', apiKey: 'k', timeoutSeconds: 9, headers: { H: 'v' }, models: [{ id: 'q', maxTokens: 4096, contextWindow: 32768 }, 'r'] },
        far: { baseUrl: 'https://far.example/v1' },
        openai: { apiKey: 'ok' },
        ollama: { api: 'ollama', baseUrl: 'http://h:11434' },
        claude: { api: 'anthropic-messages', baseUrl: 'https://c' },
        play: { api: 'scripted', script: 'scripts/hub.json5' } } } }";
    let options = with_env(&[("GROQ_API_KEY", "gk"), ("XAI_API_KEY", "xk")]);
    let config = load_with(&options, text).expect("good").config;
    let mut lines = Vec::new();
    for provider in &config.models.providers {
        let api = match &provider.api {
            ProviderApi::OpenAiCompletions { base_url, api_key } => {
                format!("{base_url} {:?}", api_key.as_ref().map(Secret::reveal))
            }
            ProviderApi::Scripted { script } => script.display().to_string(),
            ProviderApi::Unsupported { api } => format!("no {api}"),
        };
        lines.push(format!("{} {api} {:?}", provider.id, provider.timeout));
    }
    assert_eq!(
        lines,
        [
            "mine http://127.0.0.1:8080/v1 Some(\"k\") Some(9s)",
            "far https://far.example/v1 None None",
            "openai https://api.openai.com/v1 Some(\"ok\") None",
            "ollama http://h:11434/v1 None Some(300s)",
            "claude no anthropic-messages None",
            "play /home/node/.openclaw/scripts/hub.json5 None",
            "groq https://api.groq.com/openai/v1 Some(\"gk\") None",
            "xai https://api.x.ai/v1 Some(\"xk\") None",
            "anthropic no anthropic-messages None",
        ]
    );
    assert_eq!(config.models.providers[0].models.len(), 2);
    assert_eq!(config.agents.list[1].models, ["groq/llama"], "aliases are written out");
}

#[test]
fn a_model_that_leads_nowhere_is_said() {
    let config = good("{ agents: { defaults: { model: 'nowhere/x' } } }");
    assert_eq!(
        config.warnings,
        [
            "agent \"main\" names the model \"nowhere/x\", but there is no provider \"nowhere\" in models.providers"
        ]
    );
}

#[test]
fn jobs_and_retention() {
    let config = good(
        "{ agents: { list: [{ id: 'hub' }] }, cron: { sessionRetention: '3d', jobs: [
            { name: 'Wake', every: '20s', message: 'go', agentId: 'hub' },
            { id: 'x', name: 'Wake', schedule: { kind: 'cron', expr: '0 7 * * *', tz: 'UTC' }, payload: { kind: 'systemEvent', text: 't' }, delivery: { mode: 'announce' } } ] } }",
    );
    let ids: Vec<&str> = config.cron.jobs.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(ids, ["wake", "x"]);
    assert_eq!(config.cron.jobs[1].target, JobTarget::Main);
    assert_eq!(config.cron.session_retention, Some(Duration::from_secs(3 * 86_400)));
    assert!(
        config.warnings[0].contains("results are kept, not delivered"),
        "{:?}",
        config.warnings
    );
    for (text, hours) in [("false", None), ("'0h'", None), ("12", Some(12)), ("'24h'", Some(24))] {
        let config = good(&format!("{{ cron: {{ sessionRetention: {text} }} }}"));
        assert_eq!(
            config.cron.session_retention.map(|time| time.as_secs() / 3600),
            hours,
            "{text}"
        );
    }
}

#[test]
fn gateway_session_containment_store() {
    let config = good(
        "{ gateway: { port: '18999', auth: { token: 't' }, shutdownDeadline: '5s', bind: 'lan' },
           session: { reset: { mode: 'daily', atHour: 6, idleMinutes: 30 } },
           containment: { guard: 'memfd', layers: ['cgroup2'] }, store: { durability: 'power' },
           agents: { defaults: { budget: { turns: 3, calls: 4, tokens: 5 }, timeoutSeconds: 0 } } }",
    );
    assert_eq!(config.gateway.port, 18_999);
    assert_eq!(config.gateway.token, Some(Secret::new("t")));
    assert_eq!(config.gateway.shutdown_deadline, Duration::from_secs(5));
    assert_eq!(config.session.reset, Reset::Daily { at_hour: 6 });
    assert_eq!(config.session.reset_idle, Some(Duration::from_secs(1800)));
    assert_eq!(config.containment.guard, GuardSource::Memfd);
    assert_eq!(config.store.durability, Durability::Power);
    let agent = &config.agents.list[0];
    assert_eq!((agent.budget.turns, agent.budget.calls, agent.budget.tokens), (3, 4, Some(5)));
    assert_eq!(agent.run_timeout, None, "0 is no limit");
    assert!(config.warnings.iter().any(|text| text.contains("listens on 127.0.0.1 only")));
    assert_eq!(good("{}").gateway.port, 18_790);
}

#[test]
fn the_token_of_the_environment_wins_and_an_unset_one_is_none() {
    let text = "{ gateway: { auth: { token: '${NONE}' } } }";
    let token =
        |options: &LoadOptions| load_with(options, text).expect("good").config.gateway.token;
    assert_eq!(token(&options()), None, "the text ${{NONE}} would be a token anyone can guess");
    assert_eq!(token(&with_env(&[("WRASSE_GATEWAY_TOKEN", "w")])), Some(Secret::new("w")));
    let debug =
        format!("{:?}", load(&with_env(&[("NONE", "sekrit")]), &files(&[("openclaw.json", text)])));
    assert!(!debug.contains("sekrit\"") || !debug.contains("Secret(\"sekrit"), "{debug}");
}

#[test]
fn a_policy_that_hides_the_servers_of_2026_4_is_said() {
    let text = "{ compat: '2026.4', tools: { allow: ['read'] }, mcp: { servers: { s: { command: 'x' } } } }";
    assert!(good(text).warnings.iter().any(|text| text.contains("bundle-mcp")));
}

/// Whatever stands at a key, the answer is a configuration or a report, and printing it works.
#[test]
fn nothing_odd_anywhere_makes_it_panic() {
    let values = [
        "null",
        "true",
        "-1",
        "0",
        "1e300",
        "-Infinity",
        "9223372036854775807",
        "''",
        "'x'",
        "'${'",
        "'${X}'",
        "'99999999w'",
        "[]",
        "[null]",
        "[[]]",
        "[{}]",
        "['x', 1]",
        "{}",
        "{ a: null }",
        "{ a: {} }",
        "{ source: 'file', id: '' }",
        "{ id: 1, source: {} }",
    ];
    let mut paths = Vec::new();
    leaves(&wrasse_config::schema(), &mut Vec::new(), &mut paths);
    assert!(paths.len() > 300, "{}", paths.len());
    // Every prefix too: `agents: 1` is as odd as `agents.list[0].id: 1`.
    let prefixes: std::collections::BTreeSet<&[String]> =
        paths.iter().flat_map(|path| (1..=path.len()).map(|depth| &path[..depth])).collect();
    for path in prefixes {
        for value in values {
            let text = path.iter().rev().fold(value.to_owned(), |inner, name| {
                if name == "[]" { format!("[{inner}]") } else { format!("{{ '{name}': {inner} }}") }
            });
            if let Ok(loaded) = load_with(&options(), &text) {
                assert!(!loaded.print(wrasse_config::Origin::Show).is_empty());
            }
        }
    }
}

fn leaves(schema: &serde_json::Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let mut below = |name: &str, schema: &serde_json::Value| {
        path.push(name.to_owned());
        leaves(schema, path, found);
        path.pop();
    };
    let properties = schema.get("properties").and_then(serde_json::Value::as_object);
    let rest = schema.get("additionalProperties").filter(|rest| rest.is_object());
    let mut any = false;
    for (name, schema) in properties.into_iter().flatten() {
        any = true;
        below(name, schema);
    }
    for (name, schema) in [("any", rest), ("[]", schema.get("items"))] {
        if let Some(schema) = schema {
            any = true;
            below(name, schema);
        }
    }
    if !any {
        found.push(path.clone());
    }
}
