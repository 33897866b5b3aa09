//! A ledger record as people read it.

use serde_json::{Value, json};
use wrasse_store::InstanceRow;

/// One instance, living or ended, with what happened to it.
pub(crate) fn json(row: &InstanceRow) -> Value {
    json!({
        "id": row.id,
        "kind": row.kind,
        "server": row.server,
        "sessionKey": row.session_key,
        "launch": row.command,
        "origin": row.origin,
        "beganAt": row.began_at,
        "runningAt": row.running_at,
        "guardianPid": row.guardian.as_ref().map(|guardian| guardian.pid),
        "pid": row.pid,
        "endedAt": row.ended_at,
        "end": row.end.as_ref().map(|end| json!({
            "reason": end.reason,
            "detail": end.detail,
            "rung": end.rung,
            "tookMs": end.took_ms,
            "processes": end.processes,
            "survivors": end.survivors,
            "provenEmpty": end.proven_empty,
        })),
        "events": row.events.iter()
            .map(|event| json!({ "at": event.at, "text": event.text }))
            .collect::<Vec<_>>(),
        "leases": row.leases.iter().map(|lease| json!({
            "id": lease.id,
            "holder": lease.holder,
            "reason": lease.reason,
            "beganAt": lease.began_at,
            "endedAt": lease.ended_at,
            "endReason": lease.end_reason,
        })).collect::<Vec<_>>(),
    })
}
