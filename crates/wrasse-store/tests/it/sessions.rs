use serde_json::json;
use wrasse_store::{NewSession, SessionFilter, StoreError, Touch};
use wrasse_types::{AgentId, RunId, SessionKey};

use crate::support::{Fixture, key};

fn new(key: &SessionKey) -> NewSession {
    NewSession {
        key: key.clone(),
        agent: key.agent(),
        label: Some("trip".to_owned()),
        spawned_by: Some(SessionKey::main(&AgentId::new("hub"))),
        depth: 1,
        model: Some("scripted/a".to_owned()),
    }
}

#[tokio::test]
async fn a_session_is_made_once_and_found() {
    let Fixture { store, .. } = &Fixture::new().await;
    let key = key("agent:leaf:subagent:1");
    assert_eq!(store.session(&key).await.unwrap(), None);
    let made = store.ensure_session(new(&key)).await.unwrap();
    assert_eq!((made.agent.as_str(), made.depth, made.reset_count), ("leaf", 1, 0));
    assert_eq!(made.spawned_by, Some(SessionKey::main(&AgentId::new("hub"))));
    let again = NewSession { depth: 7, ..new(&key) };
    assert_eq!(store.ensure_session(again).await.unwrap(), made, "an existing one stays as it is");
    assert_eq!(store.session(&key).await.unwrap(), Some(made.clone()));
    assert_eq!(store.session_by_id(&made.session_id).await.unwrap(), Some(made.clone()));
    assert_eq!(store.count_sessions().await.unwrap(), 1);

    assert!(store.set_session_label(&key, Some("tide")).await.unwrap());
    assert!(store.set_session_model(&key, None).await.unwrap());
    assert!(store.touch_session(&key, Touch::Interaction).await.unwrap());
    let touched = store.session(&key).await.unwrap().unwrap();
    assert_eq!((touched.label.as_deref(), touched.model.as_deref()), (Some("tide"), None));
    assert_eq!(touched.last_interaction_at, touched.updated_at);
    assert!(store.touch_session(&key, Touch::Activity).await.unwrap());
    let quiet = store.session(&key).await.unwrap().unwrap();
    assert_eq!(quiet.last_interaction_at, touched.last_interaction_at);
    assert!(!store.touch_session(&crate::support::key("none"), Touch::Activity).await.unwrap());
}

#[tokio::test]
async fn a_reset_starts_a_new_span_and_keeps_the_old_transcript() {
    let Fixture { store, .. } = &Fixture::new().await;
    let key = key("main");
    let first = store.ensure_session(new(&key)).await.unwrap();
    let run = RunId::new("r-1");
    let mut numbers = Vec::new();
    for n in 0..5 {
        let body = json!({ "role": "user", "text": n });
        let seq =
            store.append_entry(&key, &first.session_id, Some(&run), "user", &body).await.unwrap();
        numbers.push(seq);
    }
    assert!(numbers.is_sorted());
    let second = store.reset_session(&key).await.unwrap();
    assert_ne!(second.session_id, first.session_id);
    assert_eq!(second.reset_count, 1);
    assert!(store.transcript(&second.session_id, None).await.unwrap().is_empty());
    let old = store.transcript(&first.session_id, None).await.unwrap();
    assert_eq!(old.iter().map(|entry| entry.seq).collect::<Vec<_>>(), numbers);
    assert_eq!(old[0].run.as_ref(), Some(&run));
    let last = store.transcript(&first.session_id, Some(2)).await.unwrap();
    assert_eq!(last.iter().map(|e| e.body["text"].clone()).collect::<Vec<_>>(), [3, 4]);

    let none = store.reset_session(&crate::support::key("none")).await;
    assert!(matches!(none, Err(StoreError::NotFound { what: "session", .. })), "{none:?}");
}

#[tokio::test]
async fn a_deleted_session_takes_its_transcripts_and_no_more_comes() {
    let Fixture { store, .. } = &Fixture::new().await;
    let key = key("main");
    let session = store.ensure_session(new(&key)).await.unwrap();
    let append = async || {
        store
            .append_entry(&key, &session.session_id, None, "tool", &json!({ "text": "é\u{0}" }))
            .await
    };
    append().await.unwrap();
    store.reset_session(&key).await.unwrap();
    assert!(store.delete_session(&key).await.unwrap());
    assert!(!store.delete_session(&key).await.unwrap());
    assert!(store.transcript(&session.session_id, None).await.unwrap().is_empty());
    let refused = append().await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    assert!(store.transcript(&session.session_id, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn sessions_are_listed_by_agent_and_prefix() {
    let Fixture { store, .. } = &Fixture::new().await;
    for text in ["agent:hub:main", "agent:hub:cron:daily:run:1", "agent:leaf:main"] {
        store.ensure_session(new(&key(text))).await.unwrap();
    }
    let count = async |filter| store.sessions(filter).await.unwrap().len();
    assert_eq!(count(SessionFilter::default()).await, 3);
    let agent = Some(AgentId::new("hub"));
    assert_eq!(count(SessionFilter { agent, ..SessionFilter::default() }).await, 2);
    let prefix = Some("agent:hub:cron:".to_owned());
    assert_eq!(count(SessionFilter { prefix, ..SessionFilter::default() }).await, 1);
    assert_eq!(count(SessionFilter { limit: Some(2), ..SessionFilter::default() }).await, 2);
    // Not a pattern.
    let prefix = Some("agent:%".to_owned());
    assert_eq!(count(SessionFilter { prefix, ..SessionFilter::default() }).await, 0);
}
