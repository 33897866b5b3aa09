//! Durable state: sessions, transcripts, runs, jobs, firings, ledger, catalogue.
