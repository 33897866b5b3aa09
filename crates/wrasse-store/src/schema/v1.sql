-- Times are milliseconds since 1970-01-01T00:00:00Z; JSON is text.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE sessions (
    key                 TEXT PRIMARY KEY,
    session_id          TEXT NOT NULL UNIQUE,
    agent               TEXT NOT NULL,
    label               TEXT,
    spawned_by          TEXT,
    depth               INTEGER NOT NULL,
    model               TEXT,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    last_interaction_at INTEGER NOT NULL,
    reset_count         INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX sessions_by_update ON sessions (updated_at);

CREATE TABLE transcript (
    seq         INTEGER PRIMARY KEY,
    session_key TEXT NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    session_id  TEXT NOT NULL,
    run         TEXT,
    at          INTEGER NOT NULL,
    role        TEXT NOT NULL,
    body        TEXT NOT NULL
) STRICT;
CREATE INDEX transcript_by_span ON transcript (session_id, seq);
CREATE INDEX transcript_by_session ON transcript (session_key);

-- A run outlives its session: no reference.
CREATE TABLE runs (
    id             TEXT PRIMARY KEY,
    session_key    TEXT NOT NULL,
    session_id     TEXT NOT NULL,
    agent          TEXT NOT NULL,
    parent         TEXT,
    root           TEXT NOT NULL,
    cause          TEXT NOT NULL,
    job            TEXT,
    depth          INTEGER NOT NULL,
    state          TEXT NOT NULL,
    started_at     INTEGER NOT NULL,
    ended_at       INTEGER,
    end_reason     TEXT,
    error          TEXT,
    result         TEXT,
    usage_in       INTEGER NOT NULL DEFAULT 0,
    usage_out      INTEGER NOT NULL DEFAULT 0,
    calls          INTEGER NOT NULL DEFAULT 0,
    turns          INTEGER NOT NULL DEFAULT 0,
    children       INTEGER NOT NULL DEFAULT 0,
    delivery       TEXT,
    label          TEXT,
    cleanup_delete INTEGER NOT NULL,
    released       TEXT
) STRICT;
CREATE INDEX runs_by_start ON runs (started_at);
CREATE INDEX runs_by_session ON runs (session_key);
CREATE INDEX runs_by_parent ON runs (parent) WHERE parent IS NOT NULL;
CREATE INDEX runs_open ON runs (state) WHERE state <> 'ended';

CREATE TABLE jobs (
    id                 TEXT PRIMARY KEY,
    name               TEXT NOT NULL,
    enabled            INTEGER NOT NULL,
    agent              TEXT NOT NULL,
    schedule           TEXT NOT NULL,
    target             TEXT NOT NULL,
    payload            TEXT NOT NULL,
    delivery           TEXT NOT NULL,
    timeout_ms         INTEGER,
    delete_after_run   INTEGER NOT NULL,
    origin             TEXT NOT NULL,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    next_due_at        INTEGER,
    running_run        TEXT,
    last_run_at        INTEGER,
    last_status        TEXT,
    last_error         TEXT,
    consecutive_errors INTEGER NOT NULL
) STRICT;

-- History outlives its job: no reference.
CREATE TABLE firings (
    job        TEXT NOT NULL,
    due_at     INTEGER NOT NULL,
    run        TEXT,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    status     TEXT NOT NULL,
    error      TEXT,
    summary    TEXT,
    delivered  TEXT NOT NULL,
    PRIMARY KEY (job, due_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX firings_open ON firings (started_at) WHERE ended_at IS NULL;

CREATE TABLE catalogue (
    fingerprint  TEXT PRIMARY KEY,
    server       TEXT NOT NULL,
    protocol     TEXT NOT NULL,
    server_info  TEXT NOT NULL,
    instructions TEXT,
    tools        TEXT NOT NULL,
    fetched_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE packages (
    spec        TEXT PRIMARY KEY,
    launched_at INTEGER NOT NULL
) STRICT;

-- AUTOINCREMENT: the number is a mark on processes, so it is never used twice, not even after pruning.
CREATE TABLE instances (
    id                   INTEGER PRIMARY KEY AUTOINCREMENT,
    kind                 TEXT NOT NULL,
    server               TEXT NOT NULL,
    scope                TEXT NOT NULL,
    session_key          TEXT,
    fingerprint          TEXT NOT NULL,
    command              TEXT NOT NULL,
    origin               TEXT NOT NULL,
    began_at             INTEGER NOT NULL,
    guardian_pid         INTEGER,
    guardian_start_ticks INTEGER,
    guardian_boot_id     TEXT,
    running_at           INTEGER,
    pid                  INTEGER,
    start_ticks          INTEGER,
    ended_at             INTEGER,
    end_reason           TEXT,
    end_detail           TEXT,
    end_rung             TEXT,
    end_took_ms          INTEGER,
    end_processes        INTEGER,
    end_survivors        INTEGER,
    end_proven_empty     INTEGER
) STRICT;
CREATE INDEX instances_open ON instances (id) WHERE ended_at IS NULL;
CREATE INDEX instances_by_end ON instances (ended_at);

CREATE TABLE instance_events (
    instance INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    at       INTEGER NOT NULL,
    text     TEXT NOT NULL
) STRICT;
CREATE INDEX instance_events_by_instance ON instance_events (instance);

CREATE TABLE leases (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    instance           INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    holder_kind        TEXT NOT NULL,
    holder_id          TEXT NOT NULL,
    holder_session_key TEXT,
    holder_agent       TEXT,
    reason             TEXT NOT NULL,
    began_at           INTEGER NOT NULL,
    ended_at           INTEGER,
    end_reason         TEXT
) STRICT;
CREATE INDEX leases_by_instance ON leases (instance);
CREATE INDEX leases_open ON leases (id) WHERE ended_at IS NULL;
