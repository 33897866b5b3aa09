//! The JSON schema of what is accepted, made from the table of keys.

use serde_json::{Map, Value as Json, json};

use crate::known::{Class, Kind, Known, known};

/// The JSON schema of what Wrasse accepts, for editors.
///
/// Keys of OpenClaw that change nothing here are in it without a type; JSON5's own syntax is outside what a schema
/// can say.
pub fn schema() -> Json {
    let mut schema = object(known());
    if let Json::Object(members) = &mut schema {
        members.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        members.insert("title".into(), "Wrasse configuration".into());
        members.insert("$defs".into(), json!({ "secretRef": secret_ref(), "job": job() }));
        if let Some(Json::Object(properties)) = members.get_mut("properties") {
            properties.insert("$include".into(), json!({ "type": ["string", "array"] }));
        }
    }
    schema
}

fn position(known: &Known) -> Json {
    let class = known.class.map(leaf);
    if known.is_leaf() {
        return class.unwrap_or_else(|| json!({}));
    }
    match (known.class, class) {
        (Some(Class::Implemented(_)), Some(class)) => json!({ "anyOf": [class, object(known)] }),
        (Some(Class::Implemented(_) | Class::Unused | Class::Restricts(_)) | None, _) => {
            object(known)
        }
    }
}

fn object(known: &Known) -> Json {
    let mut properties = Map::new();
    for (name, below) in &known.names {
        properties.insert((*name).to_owned(), position(below));
    }
    let mut schema = Map::new();
    let rest = known.any.as_deref().map(position);
    if known.list {
        return json!({ "type": "array", "items": rest });
    }
    schema.insert("type".into(), "object".into());
    if !properties.is_empty() {
        schema.insert("properties".into(), Json::Object(properties));
    }
    let additional = rest.unwrap_or(Json::Bool(known.open));
    schema.insert("additionalProperties".into(), additional);
    Json::Object(schema)
}

fn leaf(class: Class) -> Json {
    match class {
        Class::Implemented(kind) => kind_of(kind),
        Class::Unused => json!({ "description": "Known to OpenClaw; changes nothing in Wrasse." }),
        Class::Restricts(_) => json!({
            "description": "Known to OpenClaw and not implemented; the tools it guards are denied."
        }),
    }
}

fn kind_of(kind: Kind) -> Json {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Int => json!({ "type": "integer" }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Secret => json!({ "anyOf": [{ "type": "string" }, { "$ref": "#/$defs/secretRef" }] }),
        Kind::Duration => json!({ "type": "string", "examples": ["500ms", "2s", "1h30m"] }),
        Kind::OneOf(choices) => json!({ "enum": choices }),
        Kind::TextOrObject => json!({ "type": "string" }),
        Kind::Scalars => json!({
            "type": "object",
            "additionalProperties": { "anyOf": [{ "type": ["string", "number", "boolean"] }, { "$ref": "#/$defs/secretRef" }] }
        }),
        Kind::Jobs => json!({ "type": "array", "items": { "$ref": "#/$defs/job" } }),
        Kind::Loose => json!({ "type": ["string", "number", "boolean"] }),
    }
}

fn secret_ref() -> Json {
    json!({
        "type": "object",
        "properties": {
            "source": { "enum": ["env", "file"] },
            "provider": { "type": "string" },
            "id": { "type": "string" }
        },
        "required": ["source", "id"]
    })
}

fn job() -> Json {
    json!({
        "type": "object",
        "properties": {
            "id": { "type": "string" },
            "name": { "type": "string" },
            "enabled": { "type": "boolean" },
            "agentId": { "type": "string" },
            "every": { "type": "string", "examples": ["20s", "1h"] },
            "cron": { "type": "string", "examples": ["0 7 * * *"] },
            "at": { "type": "string", "examples": ["2030-01-31T07:00:00Z"] },
            "tz": { "type": "string", "examples": ["Europe/Berlin"] },
            "schedule": { "type": "object", "properties": { "kind": { "enum": ["at", "every", "cron"] } } },
            "sessionTarget": { "enum": ["main", "isolated"] },
            "message": { "type": "string" },
            "systemEvent": { "type": "string" },
            "model": { "type": "string" },
            "payload": { "type": "object", "properties": { "kind": { "enum": ["agentTurn", "systemEvent"] } } },
            "delivery": { "type": "object" },
            "timeoutSeconds": { "type": "integer" },
            "deleteAfterRun": { "type": "boolean" }
        },
        "required": ["name"]
    })
}
