//! `cron`.

use std::collections::BTreeMap;

use wrasse_types::JobId;

use super::cursor::{At, Context};
use super::{gateway, job};
use crate::{Agents, Cron, Job, JobDefaults, JobTarget};

/// Reads `cron` and its jobs.
pub(super) fn read(_: &Context<'_>, root: &At<'_>, agents: &Agents) -> Cron {
    let key = |name: &str| root.follow(&["cron", name]);
    let runs = key("maxConcurrentRuns").and_then(|at| at.count(1..=10_000));
    Cron {
        enabled: key("enabled").and_then(|at| at.flag()).unwrap_or(true),
        max_concurrent_runs: runs.unwrap_or(8),
        jobs: key("jobs").map(|at| jobs(&at, agents)).unwrap_or_default(),
        session_retention: key("sessionRetention").and_then(|at| gateway::retention(&at)),
    }
}

fn jobs(at: &At<'_>, agents: &Agents) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut seen: BTreeMap<JobId, String> = BTreeMap::new();
    for item in at.items() {
        let Some(job) = job::read(&item, &JobDefaults::default()) else { continue };
        if let Some(other) = seen.insert(job.id.clone(), job.name.clone()) {
            item.fault(
                format!("this job and {other:?} have the same id {:?}", job.id.as_str()),
                Some("give one of them an id of its own"),
            );
        }
        if let Some(agent) = &job.agent
            && agents.get(agent).is_none()
        {
            let near = crate::known::closest(
                agent.as_str(),
                agents.list.iter().map(|agent| agent.id.as_str()),
            );
            let advice = near.map(|near| format!("did you mean {near:?}?"));
            item.fault(format!("there is no agent {:?}", agent.as_str()), advice.as_deref());
        }
        if job.delivery != "none" {
            item.warn(&format!(
                "delivery {:?} is not implemented: results are kept, not delivered",
                job.delivery
            ));
        }
        if job.target == JobTarget::Main
            && job.agent.as_ref().is_some_and(|id| *id != agents.default)
        {
            item.warn("runs on the main session of an agent that is not the default one");
        }
        jobs.push(job);
    }
    jobs
}
