//! Scheduled jobs: when they fire, what they start, what their history says.
//!
//! One loop fires all jobs. It sleeps until the next due time, at most half a minute, and asks the wall clock again, so a
//! clock that is set or a machine that was suspended is noticed. INVARIANTS: a job never overlaps itself; each due time
//! is claimed in the store before anything starts, so it is answered at most once, whatever dies; after a pause each
//! job has at most one firing to catch up with, and recurring ones none: they go on at their next due time. A job that
//! fires once and whose run the gateway's end cut off is due again at the next start, as often as after a failure.

mod armed;
pub(crate) mod manage;
pub(crate) mod results;
mod schedule;
mod scheduler;

pub(crate) use armed::{Armed, Cron};
pub(crate) use manage::load;
pub(crate) use scheduler::{FireError, fire_now, schedule_jobs};
