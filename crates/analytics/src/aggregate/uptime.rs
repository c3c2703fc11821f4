//! Uptime checks, counted by target.

use super::{
    Aggregate, Bucketing, Dimension, Window,
    counter::{Hit, Rank},
    group::{Groups, Header},
    slots::{Label, Slots},
};
use crate::{
    Time, UptimeView, When,
    uptime::{UptimeInt, UptimeText},
};

/// Counts uptime checks by organisation and hour: [`Dimension::Url`] and [`Dimension::Errors`]. Codes of success are kept
/// too.
#[derive(Debug, Default)]
pub struct UptimeAggregator {
    compat: bool,
    groups: Groups,
    slots: Slots,
}

impl UptimeAggregator {
    /// Nothing counted yet. `compat`: everything of an organisation goes into the hour of its first check, totals have no
    /// time, and neither has a target that a check without a result named first.
    pub fn new(compat: bool) -> Self {
        UptimeAggregator {
            compat,
            ..UptimeAggregator::default()
        }
    }

    /// Counts a check; `false`: it belongs to no organisation.
    pub fn add(&mut self, check: &UptimeView<'_>) -> bool {
        let org = check.text(UptimeText::OrgId);
        if org.is_empty() {
            return false;
        }
        let bucketing = if self.compat {
            Bucketing::FirstRecord
        } else {
            Bucketing::OwnTime
        };
        let time = check.time(When::TimeStamp);
        let (number, group) = self.groups.get(org, (Window::HOUR, &bucketing), time, || Header {
            org_id: org.into(),
            expire_at: check.time(When::ExpireAt),
        });
        group.last_time = time;
        group.total.last_time = if self.compat { Time::ZERO } else { time };

        let hit = Hit::of_code(check.int(UptimeInt::ResponseCode));
        let hit = Hit {
            keeps_code: hit.success + hit.error > 0,
            request_time: check.int(UptimeInt::RequestTime) * hit.hits,
            ..hit
        };
        group.total.add(&hit, Rank::Best, false);
        let url = check.text(UptimeText::Url);
        if !url.is_empty() {
            let slot = self.slots.get(number, Dimension::Url, 0, url, time);
            slot.human = Label::Empty;
            if self.compat && hit.is_connection() {
                slot.counter.pin_minimum(true);
            }
            slot.counter.add(&hit, Rank::Best, false);
        }
        if hit.error > 0 {
            let code = itoa::Buffer::new().format(hit.code).to_owned();
            let slot = self.slots.get(number, Dimension::Errors, 0, code.as_bytes(), time);
            slot.human = Label::Empty;
            slot.counter.add(&hit, Rank::Best, false);
        }
        true
    }

    /// The aggregates, sorted by organisation and hour.
    pub fn finish(self) -> Vec<Aggregate> {
        self.groups.finish(self.slots)
    }
}
