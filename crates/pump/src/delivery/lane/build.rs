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
    delivery::{
        cause::{Cause, CauseClass},
        discreet::{self, Discreet},
        facts::LaneState,
        report::Context,
        retry::Backoff,
    },
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
            let (name, meta) = (context.pump.clone(), context.meta.clone());
            let sink = (spec.build)(context).await.map_err(discreet::build_error)?;
            tracing::info!(prefix = "main", "Init Pump: {name}");
            Ok(Box::new(Discreet::new(sink, &meta)) as Box<dyn Sink>)
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
                desk.facts.enter(LaneState::Running, None);
                return Some(sink);
            }
            Err(BuildError::Options(error)) => {
                disable(desk, &error);
                Duration::MAX
            }
            Err(BuildError::Unavailable(error) | BuildError::Occupied(error)) => {
                let text = error.to_string();
                desk.error(&format!("pump cannot start yet, trying again: {text}"));
                let class = if occupied {
                    CauseClass::Occupied
                } else {
                    class_of(&*error)
                };
                let state = match class {
                    CauseClass::Configuration => LaneState::Paused,
                    _ => LaneState::Retrying,
                };
                desk.show_failure(state, Cause::new(class, text));
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
    let remedy = "correct the configuration and restart; its records wait in the source, up to max_unacked";
    let context = Context {
        remedy: Some(remedy),
        ..desk.context()
    };
    let text = format!("Pump init error (skipping): {error}");
    desk.services.log.error(&text, context);
    let cause = Cause::new(CauseClass::Configuration, error).with_remedy(remedy);
    desk.facts.enter(LaneState::Disabled, Some(cause));
}

/// Whether time may mend what keeps a sink from being made, or somebody must.
fn class_of(error: &(dyn std::error::Error + 'static)) -> CauseClass {
    use std::io::ErrorKind::{IsADirectory, NotADirectory, PermissionDenied};
    let mut link = Some(error);
    while let Some(error) = link {
        let kind = error.downcast_ref().map(std::io::Error::kind);
        if matches!(kind, Some(IsADirectory | NotADirectory | PermissionDenied)) {
            return CauseClass::Configuration;
        }
        link = error.source();
    }
    CauseClass::Unavailable
}
