//! What a lane works with: its settings, what it hears, and where it says how it is.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use analytics::Transform;
use sinks::SinkSpec;
use tokio::sync::mpsc;

use super::{
    backlog::Backlog,
    handle::{LaneControl, LaneId, Message},
};
use crate::{
    config::PumpSettings,
    delivery::{cause::Cause, facts::Facts, facts::LaneState, report::Context, services::Services},
};

/// How long a paused lane waits before it probes.
pub(super) const PROBE: Duration = Duration::from_secs(30);

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// The time is over.
    Over,
    /// The lane stops.
    Stop,
    /// The lane holds more than it may: see [`super::relief`].
    Relief,
}

/// What a lane works with.
pub(in crate::delivery) struct Desk {
    pub(super) id: LaneId,
    pub(super) settings: PumpSettings,
    pub(super) transform: Arc<Transform>,
    pub(super) spec: &'static SinkSpec,
    pub(super) services: Arc<Services>,
    pub(super) control: Arc<LaneControl>,
    pub(super) facts: Facts,
    inbox: mpsc::UnboundedReceiver<Message>,
}

impl Desk {
    pub(in crate::delivery) fn new(
        id: LaneId,
        settings: PumpSettings,
        spec: &'static SinkSpec,
        services: Arc<Services>,
        control: Arc<LaneControl>,
        facts: Facts,
        inbox: mpsc::UnboundedReceiver<Message>,
    ) -> Self {
        Self {
            id,
            transform: Arc::new(settings.transform.clone()),
            settings,
            spec,
            services,
            control,
            facts,
            inbox,
        }
    }

    /// What a successor needs of this.
    pub(super) fn leave(self) -> (Facts, mpsc::UnboundedReceiver<Message>) {
        (self.facts, self.inbox)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.control.stop.is_cancelled()
    }

    /// The pump, for the log.
    pub(super) fn context(&self) -> Context<'_> {
        Context::pump(&self.settings.name)
    }

    /// Something failed that concerns this pump.
    pub(super) fn error(&self, text: &str) {
        self.services.log.error(text, self.context());
    }

    /// Hears a message. `None`: nobody will ever say anything more.
    pub(super) async fn hear(&mut self) -> Option<Message> {
        self.inbox.recv().await
    }

    /// Takes up what it was told.
    pub(super) fn accept(&self, message: Message, backlog: &mut Backlog) {
        match message {
            Message::Claim(held, cursor) => backlog.accept_claim(&self.settings.name, held, cursor),
            Message::Replay(request) => backlog.accept_letters(request),
        }
        self.show(backlog);
    }

    /// Takes up everything that it was told.
    pub(super) fn accept_all(&mut self, backlog: &mut Backlog) {
        while let Ok(message) = self.inbox.try_recv() {
            self.accept(message, backlog);
        }
    }

    /// Waits, while the lane goes on to accept messages.
    pub(super) async fn pause(&mut self, time: Duration, backlog: &mut Backlog) -> Waited {
        let next = SystemTime::now().checked_add(time);
        self.facts.change(|facts| facts.next_attempt = next);
        let waited = self.wait(time, backlog).await;
        self.facts.change(|facts| facts.next_attempt = None);
        waited
    }

    async fn wait(&mut self, time: Duration, backlog: &mut Backlog) -> Waited {
        let until = tokio::time::sleep(time.min(Duration::from_secs(3600 * 24 * 365)));
        tokio::pin!(until);
        let control = self.control.clone();
        loop {
            tokio::select! {
                () = &mut until => return Waited::Over,
                () = control.stop.cancelled() => return Waited::Stop,
                () = control.relief() => return Waited::Relief,
                () = control.woken() => return Waited::Over,
                message = self.hear() => match message {
                    Some(message) => self.accept(message, backlog),
                    None => return Waited::Stop,
                },
            }
        }
    }

    /// Nothing to do: waits until there is.
    pub(super) async fn idle(&mut self, backlog: &mut Backlog) {
        let control = self.control.clone();
        tokio::select! {
            () = control.stop.cancelled() => {}
            message = self.hear() => match message {
                Some(message) => self.accept(message, backlog),
                None => control.stop.cancelled().await,
            },
        }
    }

    /// Waits; `true`: the lane stops.
    pub(super) async fn stopped_for(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => false,
            () = self.control.stop.cancelled() => true,
        }
    }

    /// Shows what the lane holds.
    pub(super) fn show(&self, backlog: &Backlog) {
        let extent = backlog.extent();
        self.facts.change(|facts| {
            facts.backlog_rows = extent.rows;
            facts.backlog_bytes = extent.bytes;
            facts.spooled_rows = extent.spooled_rows;
            facts.spooled_files = extent.spooled_files;
            facts.oldest_claim_ms = extent.oldest_ms;
        });
    }

    /// What was tried failed in a way that time, or somebody, must mend.
    pub(super) fn show_failure(&self, state: LaneState, cause: Cause) {
        self.facts.failed(&cause.text);
        self.facts.enter(state, Some(cause));
    }

    /// Everything works again.
    pub(super) fn recover(&self) {
        if self.facts.state() != LaneState::Running {
            tracing::info!(prefix = "main", pump = %self.settings.name, "pump works again");
            self.facts.enter(LaneState::Running, None);
        }
    }
}
