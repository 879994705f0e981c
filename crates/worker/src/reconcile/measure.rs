//! What the leader tells of its queue after each round.

use std::collections::BTreeMap;
use std::time::Duration;

use branchline_contract::Vertex as Domain;
use branchline_service::metrics;

use super::dispatch::in_vertex_ai;
use super::leader::Leader;

impl Leader {
    /// A domain that a request only names is none yet: what strangers write makes no label.
    pub(super) fn measure(&mut self) {
        let runs = || self.runs.values();
        let blocked = runs().filter(|it| it.run.blocked.is_some()).count();
        self.metrics.runs(runs().map(|it| &it.run.state), blocked);
        let mut waiting: BTreeMap<&Domain, (usize, Duration)> = BTreeMap::new();
        let wall = (self.settings.clock)();
        for it in runs().filter(|it| it.waits()) {
            let waited = Duration::try_from(wall.duration_since(it.run.waits_since));
            let waited = waited.unwrap_or_default();
            let (count, oldest) = waiting.entry(&it.run.request.vertex).or_default();
            (*count, *oldest) = (*count + 1, waited.max(*oldest));
        }
        for it in runs().filter(|it| it.waits() || in_vertex_ai(it)) {
            let domain = &it.run.request.vertex;
            if !self.shown.contains(domain) {
                self.shown.insert(domain.clone());
            }
        }
        let now = self.started.elapsed();
        for (domain, line) in self.domains.iter().filter(|it| self.shown.contains(it.0)) {
            let line = line.lock().expect("no holder panics");
            let (waiting, oldest) = waiting.get(domain).copied().unwrap_or_default();
            let (rate, closed) = line.pace(now);
            self.metrics.line(domain, metrics::Line { waiting, oldest, rate, closed });
        }
    }
}
