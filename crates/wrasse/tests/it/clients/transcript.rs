//! What a client heard and what its server was sent, made comparable: what must differ is masked, and nothing else.

use serde_json::{Value, json};

/// What a client printed, a line per step, and what its server was sent.
#[derive(Debug, Clone)]
pub(crate) struct Transcript {
    steps: Vec<Value>,
    received: Vec<Value>,
}

/// What comes at any time, so that the order in which it is printed says nothing.
const UNORDERED: [&str; 2] = ["notifications", "asked"];

/// What a shim may answer itself, or ask a server of its own accord.
const OWN: [&str; 8] = [
    "initialize",
    "server/discover",
    "ping",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "notifications/initialized",
];

impl Transcript {
    /// Reads a client's lines and the record of what the server was sent.
    pub(crate) fn read(printed: &str, record: &str) -> Self {
        let parse = |line: &str| -> Value {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        let mut names = Names::default();
        let mut steps: Vec<Value> = printed.lines().map(parse).collect();
        for step in &mut steps {
            mask(step, &mut names);
            let name = step["step"].as_str().unwrap_or_default().to_owned();
            if UNORDERED.contains(&name.as_str())
                && let Some(list) = step["answer"].as_array_mut()
            {
                unorder(list);
            }
        }
        let received = received(&record.lines().map(parse).collect::<Vec<_>>(), &mut names);
        Self { steps, received }
    }

    /// The names of the steps.
    pub(crate) fn steps(&self) -> Vec<&str> {
        self.steps.iter().filter_map(|step| step["step"].as_str()).collect()
    }

    /// The answer of the first step of this name.
    pub(crate) fn answer(&self, name: &str) -> &Value {
        self.steps
            .iter()
            .find(|step| step["step"] == name)
            .map_or(&Value::Null, |step| &step["answer"])
    }

    /// Where the two differ; empty when they do not.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let both = [(&self.steps, &other.steps), (&self.received, &other.received)];
        for (own, others) in both {
            for index in 0..own.len().max(others.len()) {
                let (own, others) = (own.get(index), others.get(index));
                if own != others {
                    found.push(difference(own, others));
                }
            }
        }
        found
    }
}

/// What the server was sent: calls and notifications, each as often as it came. Ids and progress tokens may be anyone's.
fn received(record: &[Value], names: &mut Names) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    for message in record {
        let Some(method) = message["method"].as_str().filter(|method| !OWN.contains(method)) else {
            continue;
        };
        let mut params = message["params"].clone();
        if method == "notifications/cancelled" {
            let target = record
                .iter()
                .find(|one| one["id"] == params["requestId"] && one["method"].is_string());
            let target = target.cloned().unwrap_or_default();
            params = json!({ "of": target["method"], "name": target["params"]["name"] });
        }
        if let Some(meta) = params.get_mut("_meta").and_then(Value::as_object_mut)
            && let Some(token) = meta.get_mut("progressToken")
        {
            *token = json!("<token>");
        }
        let mut one = json!({ "server got": method, "params": params });
        mask(&mut one, names);
        found.push(one);
    }
    // Not each as often: a client asks for a task's state again and again until it is done.
    unorder(&mut found);
    found.dedup_by(|a, b| a == b && a["server got"] == "tasks/get");
    found
}

/// Sorts, and leaves one of equal notes that a list has changed: how many there are says nothing.
fn unorder(list: &mut Vec<Value>) {
    list.sort_by_cached_key(Value::to_string);
    list.dedup_by(|a, b| {
        a == b && a["method"].as_str().is_some_and(|method| method.ends_with("/list_changed"))
    });
}

/// Random names in the order of their appearance.
#[derive(Debug, Default)]
struct Names(Vec<String>);

impl Names {
    fn of(&mut self, name: &str) -> String {
        let at = self.0.iter().position(|known| known == name).unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        });
        format!("<name {at}>")
    }
}

/// Masks what differs from run to run: the time of day in the reference server's resources, tasks' names and times, and
/// the one variable that containment adds to a server's environment.
fn mask(value: &mut Value, names: &mut Names) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|one| mask(one, names)),
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), member.as_str()) {
                    ("createdAt" | "lastUpdatedAt", Some(time)) if time.ends_with('Z') => {
                        *member = json!("<time>");
                    }
                    ("taskId", Some(task)) => *member = json!(names.of(task)),
                    _ => mask(member, names),
                }
            }
        }
        Value::String(text) => {
            mask_time(text);
            mask_encoded_time(text);
            mask_environment(text);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `created at 6:25:21 PM`.
fn mask_time(text: &mut String) {
    const BEFORE: &str = "created at ";
    let Some(at) = text.find(BEFORE).map(|at| at + BEFORE.len()) else { return };
    let Some((time, half)) = text[at..].split_once(' ') else { return };
    let parts: Vec<&str> = time.split(':').collect();
    let digits =
        |part: &&str| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if parts.len() == 3 && parts.iter().all(digits) && ["AM", "PM"].contains(&half) {
        text.replace_range(at.., "<time>");
    }
}

/// The same sentence in base64: all of it but the time.
fn mask_encoded_time(text: &mut String) {
    // "Resource ", then "N: ", then "This is a base64 blob created at ".
    const START: &str = "UmVzb3VyY2Ug";
    const END: &str = "VGhpcyBpcyBhIGJhc2U2NCBibG9iIGNyZWF0ZWQgYXQg";
    if text.starts_with(START) && text.get(16..60) == Some(END) {
        text.replace_range(60.., "<time>");
    }
}

/// The reference server prints its environment as JSON, in whatever order it has it.
fn mask_environment(text: &mut String) {
    let environment = serde_json::from_str::<std::collections::BTreeMap<String, String>>(text);
    if let Ok(mut environment) = environment
        && environment.contains_key("PATH")
    {
        environment.remove("WRASSE_MARK");
        *text = serde_json::to_string(&environment).unwrap_or_default();
    }
}

/// Two lines that differ, cut to where they begin to.
fn difference(own: Option<&Value>, other: Option<&Value>) -> String {
    let text = |line: Option<&Value>| line.map_or_else(|| "nothing".to_owned(), Value::to_string);
    let (own, other) = (text(own), text(other));
    let same = own.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
    let cut =
        |text: &str| -> String { text.chars().skip(same.saturating_sub(80)).take(240).collect() };
    let head: String = own.chars().take(60).collect();
    format!("{head} …\n  expected … {}\n  found    … {}", cut(&own), cut(&other))
}

mod tests {
    use serde_json::{Value, json};

    use super::Transcript;

    fn transcript(steps: &[Value], record: &[Value]) -> Transcript {
        let text =
            |lines: &[Value]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        Transcript::read(&text(steps), &text(record))
    }

    fn step(answer: Value) -> Transcript {
        transcript(&[json!({ "step": "s", "answer": answer })], &[])
    }

    fn sent(record: &[Value]) -> Transcript {
        transcript(&[], record)
    }

    #[test]
    fn what_must_differ_is_masked() {
        let same = [
            (json!("1: created at 6:25:21 PM"), json!("1: created at 12:01:02 AM")),
            (
                json!(
                    "UmVzb3VyY2UgMjogVGhpcyBpcyBhIGJhc2U2NCBibG9iIGNyZWF0ZWQgYXQgNjoyNToyMSBQTQ=="
                ),
                json!(
                    "UmVzb3VyY2UgMjogVGhpcyBpcyBhIGJhc2U2NCBibG9iIGNyZWF0ZWQgYXQgMTI6MDE6MDIgQU0="
                ),
            ),
            (
                json!("{\n  \"PATH\": \"/bin\"\n}"),
                json!("{\n  \"PATH\": \"/bin\",\n  \"WRASSE_MARK\": \"1.2\"\n}"),
            ),
            (
                json!({ "taskId": "a", "createdAt": "1Z" }),
                json!({ "taskId": "b", "createdAt": "2Z" }),
            ),
        ];
        for (one, other) in same {
            let found = step(one).differences(&step(other));
            assert!(found.is_empty(), "{found:#?}");
        }
    }

    /// A check that masks too much finds nothing.
    #[test]
    fn what_must_not_differ_is_found() {
        let different = [
            (json!("text"), json!("other")),
            (json!("1: created at 6:25:21 PM"), json!("2: created at 6:25:21 PM")),
            (json!("created at 6:25:21 PM"), json!("created at dawn")),
            (
                json!(
                    "UmVzb3VyY2UgMjogVGhpcyBpcyBhIGJhc2U2NCBibG9iIGNyZWF0ZWQgYXQgNjoyNToyMSBQTQ=="
                ),
                json!(
                    "UmVzb3VyY2UgMzogVGhpcyBpcyBhIGJhc2U2NCBibG9iIGNyZWF0ZWQgYXQgNjoyNToyMSBQTQ=="
                ),
            ),
            (
                json!("{\n  \"PATH\": \"/bin\"\n}"),
                json!("{\n  \"PATH\": \"/bin\",\n  \"WRASSE\": \"1.2\"\n}"),
            ),
            (
                json!({ "taskId": "a", "of": [{ "taskId": "a" }] }),
                json!({ "taskId": "b", "of": [{ "taskId": "c" }] }),
            ),
            (json!({ "a": 1 }), json!({ "a": 1, "b": null })),
            (json!([1, 2]), json!([2, 1])),
        ];
        for (one, other) in different {
            assert_eq!(
                step(one.clone()).differences(&step(other.clone())).len(),
                1,
                "{one} {other}"
            );
        }
        let one = json!({ "step": "s", "answer": 1 });
        let twice = transcript(&[one.clone(), one.clone()], &[]);
        assert_eq!(transcript(&[one], &[]).differences(&twice).len(), 1);
    }

    #[test]
    fn notifications_are_compared_in_any_order_and_counted() {
        let heard =
            |list: Value| transcript(&[json!({ "step": "notifications", "answer": list })], &[]);
        let (a, b) = (json!({ "method": "a" }), json!({ "method": "b" }));
        assert!(heard(json!([a, b])).differences(&heard(json!([b, a]))).is_empty());
        assert_eq!(heard(json!([a])).differences(&heard(json!([a, a]))).len(), 1);
        let changed = json!({ "method": "notifications/tools/list_changed" });
        assert!(heard(json!([changed])).differences(&heard(json!([changed, changed]))).is_empty());
        assert_eq!(heard(json!([])).differences(&heard(json!([changed]))).len(), 1);
    }

    #[test]
    fn what_the_server_was_sent_is_counted() {
        let call = |id: u32, name: &str| {
            json!({ "id": id, "method": "tools/call",
            "params": { "name": name, "_meta": { "progressToken": id } } })
        };
        let cancelled = |id: u32| {
            json!({ "method": "notifications/cancelled",
            "params": { "requestId": id, "reason": "enough" } })
        };
        let own = json!({ "id": 9, "method": "tools/list" });
        let usual = sent(&[call(1, "a"), call(2, "b"), cancelled(2)]);
        assert!(
            usual.differences(&sent(&[own, call(5, "b"), call(7, "a"), cancelled(5)])).is_empty()
        );
        // Another call was cancelled, none was, a call came twice.
        assert!(!usual.differences(&sent(&[call(1, "a"), call(2, "b"), cancelled(1)])).is_empty());
        assert!(!usual.differences(&sent(&[call(1, "a"), call(2, "b")])).is_empty());
        let twice = sent(&[call(1, "a"), call(2, "b"), call(3, "b"), cancelled(2)]);
        assert!(!usual.differences(&twice).is_empty());
    }
}
