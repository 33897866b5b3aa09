//! The schema says the same as the loader.

use serde_json::{Value, json};
use wrasse_config::schema;

#[test]
fn it_knows_the_keys_and_their_kinds() {
    let schema = schema();
    let at = |pointer: &str| schema.pointer(pointer).cloned().unwrap_or(Value::Null);
    assert_eq!(at("/additionalProperties"), json!(false));
    assert_eq!(at("/properties/gateway/properties/port/type"), json!("integer"));
    let server = "/properties/mcp/properties/servers/additionalProperties/properties";
    assert_eq!(at(&format!("{server}/command/type")), json!("string"));
    assert_eq!(
        at(&format!("{server}/lifecycle/properties/stop/properties/eof/type")),
        json!("string")
    );
    for (key, kind) in [("memoryMax", "string"), ("processesMax", "integer"), ("nice", "integer")] {
        assert_eq!(at(&format!("{server}/lifecycle/properties/{key}/type")), json!(kind));
    }
    assert_eq!(at("/properties/agents/properties/list/type"), json!("array"));
    assert_eq!(at("/properties/agents/properties/entries/type"), json!("object"));
    assert_eq!(
        at("/properties/models/properties/providers/additionalProperties/properties/models/type"),
        json!("array")
    );
    assert_eq!(
        at("/properties/agents/properties/defaults/properties/model/anyOf/0/type"),
        json!("string")
    );
    assert_eq!(at("/properties/cron/properties/jobs/items/$ref"), json!("#/$defs/job"));
}
