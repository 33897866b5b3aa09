use serde_json::{Value as Json, json};
use wrasse_types::UnixMillis;

use super::{JobDefaults, job_from_json, slug};
use crate::{Job, JobPayload, JobTarget, Schedule};

fn read(job: &Json) -> Result<Job, String> {
    let defaults = JobDefaults { id: None, now: Some(UnixMillis::new(1_800_000_000_000)) };
    job_from_json(job, &defaults).map_err(|faults| faults.to_string())
}

fn schedule(job: &Json) -> Schedule {
    let mut job = job.clone();
    job["name"] = "n".into();
    job["message"] = "m".into();
    read(&job).expect("the job is good").schedule
}

#[test]
fn schedules_in_every_spelling() {
    let every = |every_ms| Schedule::Every { every_ms, anchor_ms: None };
    let cron = |expr: &str, tz: Option<&str>| Schedule::Cron {
        expr: expr.to_owned(),
        tz: tz.map(str::to_owned),
        stagger_ms: None,
    };
    let at = |at: &str| Schedule::At { at: at.to_owned() };
    let table = [
        (json!({ "every": "20s" }), every(20_000)),
        (json!({ "everyMs": 5 }), every(5)),
        (
            json!({ "schedule": { "kind": "every", "everyMs": 1000, "anchorMs": 7 } }),
            Schedule::Every { every_ms: 1000, anchor_ms: Some(7) },
        ),
        (json!({ "schedule": { "kind": "every", "every": "1h30m" } }), every(5_400_000)),
        (json!({ "schedule": "every 2m" }), every(120_000)),
        (json!({ "cron": "0 7 * * *" }), cron("0 7 * * *", None)),
        (
            json!({ "cron": "*/5 * * * * *", "tz": "Europe/Berlin" }),
            cron("*/5 * * * * *", Some("Europe/Berlin")),
        ),
        (
            json!({ "schedule": { "kind": "cron", "expr": "0 7 * * 1-5", "tz": "UTC" } }),
            cron("0 7 * * 1-5", Some("UTC")),
        ),
        (json!({ "schedule": "30 6 1 * *" }), cron("30 6 1 * *", None)),
        (
            json!({ "cron": "0 7 * * *", "exact": true }),
            Schedule::Cron { expr: "0 7 * * *".to_owned(), tz: None, stagger_ms: Some(0) },
        ),
        (
            json!({ "cron": "0 7 * * *", "stagger": "1m" }),
            Schedule::Cron { expr: "0 7 * * *".to_owned(), tz: None, stagger_ms: Some(60_000) },
        ),
        (json!({ "at": "2030-01-31T07:00:00+01:00" }), at("2030-01-31T06:00:00Z")),
        (json!({ "at": "2030-01-31T07:00:00" }), at("2030-01-31T07:00:00Z")),
        (json!({ "at": "2030-07-31 07:00", "tz": "Europe/Berlin" }), at("2030-07-31T05:00:00Z")),
        (json!({ "at": "2030-01-31" }), at("2030-01-31T00:00:00Z")),
        (json!({ "at": "20m" }), at("2027-01-15T08:20:00Z")),
        (json!({ "at": "+20m" }), at("2027-01-15T08:20:00Z")),
        (
            json!({ "schedule": { "kind": "at", "atMs": 1_800_000_000_500_i64 } }),
            at("2027-01-15T08:00:00.500Z"),
        ),
    ];
    for (job, expected) in table {
        assert_eq!(schedule(&job), expected, "{job}");
    }
}

#[test]
fn openclaws_own_shape() {
    let job = read(&json!({
        "id": "0f3c", "name": "Daily digest", "agentId": "Hub", "enabled": false, "createdAtMs": 1, "wakeMode": "now",
        "schedule": { "kind": "cron", "expr": "0 7 * * *" }, "sessionTarget": "isolated",
        "payload": { "kind": "agentTurn", "message": "digest", "model": "a/b", "timeoutSeconds": 30, "thinking": "low" },
        "delivery": { "mode": "announce", "channel": "last" },
        "state": { "nextRunAtMs": 1 },
    }))
    .expect("it is good");
    assert_eq!(job.id.as_str(), "0f3c");
    assert_eq!(job.agent.expect("it has one").as_str(), "hub");
    assert!(!job.enabled && !job.delete_after_run);
    assert_eq!(job.target, JobTarget::Isolated);
    let turn =
        JobPayload::AgentTurn { message: "digest".to_owned(), model: Some("a/b".to_owned()) };
    assert_eq!(job.payload, turn);
    assert_eq!(job.delivery, "announce");
    assert_eq!(job.timeout.map(|time| time.as_secs()), Some(30));
}

#[test]
fn an_event_goes_to_the_main_session_and_a_time_fires_once() {
    let job =
        read(&json!({ "name": "n", "systemEvent": "wake", "at": "2030-01-01" })).expect("good");
    assert_eq!(job.target, JobTarget::Main);
    assert_eq!(job.payload, JobPayload::SystemEvent { text: "wake".to_owned() });
    assert!(job.delete_after_run);
    let kept = json!({ "name": "n", "message": "m", "at": "2030-01-01", "keepAfterRun": true });
    assert!(!read(&kept).expect("good").delete_after_run);
}

#[test]
fn bad_jobs_say_why() {
    let table = [
        (json!({}), "this job has no name"),
        (json!({ "name": "n", "message": "m" }), "this job has no schedule"),
        (json!({ "name": "n", "every": "1s" }), "this job does nothing"),
        (
            json!({ "name": "n", "message": "m", "every": "1s", "cron": "* * * * *" }),
            "several schedules",
        ),
        (json!({ "name": "n", "message": "m", "every": "0s" }), "without a pause"),
        (json!({ "name": "n", "message": "m", "every": "often" }), "not a duration"),
        (json!({ "name": "n", "message": "m", "cron": "0 25 * * *" }), "not a cron expression"),
        (json!({ "name": "n", "message": "m", "cron": "0 7 * *" }), "not a cron expression"),
        (
            json!({ "name": "n", "message": "m", "cron": "0 7 * * *", "tz": "Europe/Berln" }),
            "did you mean \"Europe/Berlin\"?",
        ),
        (json!({ "name": "n", "message": "m", "at": "tomorrow" }), "not a time"),
        (
            json!({ "name": "n", "message": "m", "at": "2030-03-31T02:30", "tz": "Europe/Berlin" }),
            "clocks skip it",
        ),
        (
            json!({ "name": "n", "message": "m", "every": "1s", "sessionTarget": "current" }),
            "not implemented",
        ),
        (
            json!({ "name": "n", "systemEvent": "t", "every": "1s", "session": "isolated" }),
            "goes to the main session",
        ),
        (
            json!({ "name": "n", "message": "m", "every": "1s", "mesage": "x" }),
            "mesage: unknown key; did you mean \"message\"?",
        ),
        (
            json!({ "name": "n", "message": "m", "every": "1s", "toolsAllow": ["x"] }),
            "cannot be restricted yet",
        ),
        (
            json!({ "name": "n", "every": "1s", "payload": { "kind": "command", "argv": ["x"] } }),
            "kind \"command\" is not implemented",
        ),
        (
            json!({ "name": "n", "message": "m", "schedule": { "kind": "stream" } }),
            "kind \"stream\" is not implemented",
        ),
        (json!({ "name": "n", "message": "m", "every": "1s", "id": "a b" }), "cannot be the id"),
        (json!("x"), "expected an object, found text"),
    ];
    for (job, expected) in table {
        let faults = read(&job).expect_err(&job.to_string());
        assert!(faults.contains(expected), "{job}: {faults}");
    }
}

#[test]
fn a_time_from_now_needs_to_know_now() {
    let job = json!({ "name": "n", "message": "m", "at": "20m" });
    assert!(job_from_json(&job, &JobDefaults::default()).is_err());
}

#[test]
fn ids_are_made_of_names() {
    assert_eq!(slug("Daily digest"), "daily-digest");
    assert_eq!(slug("  --A__b "), "a-b");
    assert_ne!(slug("日報"), slug("週報"));
    assert!(slug("日報").starts_with("job-"));
    assert!(slug(&"x".repeat(200)).len() < 64);
}
