//! Making the sink of a lane.

use std::time::Duration;

use analytics::logrus::LogForm;
use futures::future::BoxFuture;
use sinks::{BuildError, Fleet, Sink};
use tokio_util::task::AbortOnDropHandle;

use super::{
    backlog::Backlog,
    desk::{Desk, Waited},
    relief::relieve,
    spooling::Spooling,
};
use crate::{
    delivery::{facts::LaneState, report::Context, retry::Backoff},
    plan::Pump,
};

/// How often an instance that stands by looks whether it may take the other's place.
const STANDBY: Duration = Duration::from_secs(2);

/// An attempt to make the sink.
type Building = BoxFuture<'static, Result<Box<dyn Sink>, BuildError>>;

/// How a lane makes its sink, again and again until it succeeds.
pub(in crate::delivery) type Builder = Box<dyn Fn() -> Building + Send + Sync>;

/// How the sink of `pump` is made.
pub(in crate::delivery) fn builder(pump: &Pump, log: LogForm, fleet: &Fleet) -> Builder {
    let spec = pump.spec;
    let context = pump.context(log, fleet);
    let refused = pump.settings.refused.clone();
    Box::new(move || {
        let (context, refused) = (context.clone(), refused.clone());
        // A task of its own: the attempt goes on while the lane looks after its claims.
        let attempt = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Some(reason) = refused {
                return Err(BuildError::Options(reason));
            }
            let name = context.pump.clone();
            let sink = (spec.build)(context).await?;
            tracing::info!(prefix = "main", "Init Pump: {name}");
            Ok(sink)
        }));
        Box::pin(async move {
            attempt
                .await
                .unwrap_or_else(|error| Err(BuildError::Unavailable(error.into())))
        })
    })
}

/// Makes the sink; until then the lane only takes care that it does not hold too much. `None`: the lane stops.
pub(super) async fn build(
    desk: &mut Desk,
    backlog: &mut Backlog,
    spool: &mut Spooling,
    builder: &Builder,
) -> Option<Box<dyn Sink>> {
    let (mut backoff, control) = (Backoff::default(), desk.control.clone());
    let mut building = builder();
    loop {
        let built = tokio::select! {
            built = &mut building => built,
            message = desk.hear() => {
                desk.accept(message?, backlog);
                continue;
            }
            () = control.relief() => {
                relieve(desk, backlog, spool, None).await;
                continue;
            }
            () = control.stop.cancelled() => return None,
        };
        let occupied = matches!(built, Err(BuildError::Occupied(_)));
        control.stand_by(occupied);
        let pause = match built {
            Ok(sink) => {
                desk.facts.enter(LaneState::Running, None, None);
                return Some(sink);
            }
            Err(BuildError::Options(error)) => {
                disable(desk, &error);
                Duration::MAX
            }
            Err(BuildError::Unavailable(error) | BuildError::Occupied(error)) => {
                let text = error.to_string();
                desk.error(&format!("pump cannot start yet, trying again: {text}"));
                desk.show_failure(LaneState::Retrying, text, None);
                let pause = backoff.next(None);
                if occupied { STANDBY } else { pause }
            }
        };
        loop {
            match desk.pause(pause, backlog).await {
                Waited::Over => break,
                Waited::Stop => return None,
                Waited::Relief => relieve(desk, backlog, spool, None).await,
            }
        }
        building = builder();
    }
}

/// The options are wrong: only better ones can help.
fn disable(desk: &Desk, error: &str) {
    if desk.facts.state() == LaneState::Disabled {
        return;
    }
    let remedy = "correct the configuration and restart; its records wait in the source";
    let context = Context {
        remedy: Some(remedy),
        ..desk.context()
    };
    let text = format!("Pump init error (skipping): {error}");
    desk.services.log.error(&text, context);
    desk.facts
        .enter(LaneState::Disabled, Some(error.to_owned()), Some(remedy.to_owned()));
}
