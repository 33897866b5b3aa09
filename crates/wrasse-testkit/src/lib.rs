//! Misbehaving servers, the oracle and fakes for tests.
