//! Type `prometheus`: counts requests in metrics that Prometheus scrapes.

mod budget;
mod door;
mod exhibit;
mod exposition;
mod frame;
mod label;
mod metric;
mod negotiate;
mod options;
mod page;
mod protobuf;
mod registry;
pub mod state;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use analytics::{ClaimId, RowRanges, Selection};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::Mutex;

pub use self::options::{CustomMetric, Options};
use self::{
    door::{Access, Opened, Route},
    exhibit::{Exhibit, TAKEN},
    metric::Metric,
    registry::{Book, Registry, Rules},
    state::{OpenError, State, Store},
};
use crate::{
    Applied, BuildContext, BuildError, Guarantee, Resource, Sink, SinkSpec, WriteError, Written, options as schemas,
    serve::BasicAuth,
    tls::{Identity, PemFile, server_config},
};

/// The type `prometheus`.
pub const SPEC: SinkSpec = SinkSpec {
    guarantee: Guarantee::ExactlyOnce,
    decodes_bodies: false,
    options: schemas::schema::<Options>,
    check: Some(|context| Plan::read(context)?.check()),
    ..SinkSpec::new(
        "prometheus",
        "Prometheus Pump",
        "prometheus-pump",
        "TYK_PMP_PUMPS_PROMETHEUS_META",
        build,
    )
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Prometheus::open(&context).await?) as Box<dyn Sink>) }.boxed()
}

/// What the options ask for.
struct Plan {
    options: Options,
    metrics: Vec<Metric>,
    rules: Rules,
    access: Access,
    pump: Arc<str>,
}

impl Plan {
    fn read(context: &BuildContext) -> Result<Plan, BuildError> {
        let options: Options = context.options()?;
        if options.listen_address.is_empty() {
            let text = "meta.listen_address is missing – write for instance \":9090\"";
            return Err(BuildError::Options(text.to_owned()));
        }
        let warn = |text: &str| tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{text}");
        let refuse = |text: String| tracing::error!(prefix = SPEC.log_prefix, pump = %context.pump, "{text}");
        let metrics = metric::metrics(&options, TAKEN, refuse, |text| warn(&text));
        let rules = Rules {
            all_paths: options.track_all_paths,
            aggregate: options.aggregate_observations,
            max_series: usize::try_from(options.max_series).unwrap_or(usize::MAX),
            ttl: (options.series_ttl > 0).then(|| Duration::from_secs(options.series_ttl)),
        };
        Ok(Plan {
            access: access(&options)?,
            options,
            metrics,
            rules,
            pump: context.pump.clone(),
        })
    }

    /// What is found out when it is opened, without a listener.
    fn check(self) -> Result<(), BuildError> {
        let warn = |text: &str| tracing::warn!(prefix = SPEC.log_prefix, pump = %self.pump, "{text}");
        door::parse(&self.options.listen_address)?;
        let (registry, _) = Registry::new(self.metrics, self.rules, State::default(), None);
        Route::new(&self.options.path, Arc::new(Exhibit::new(Arc::new(registry))), warn).map(drop)
    }
}

/// One pump's metrics, and the listener that shows them.
pub struct Prometheus {
    registry: Arc<Registry>,
    book: Arc<Mutex<Book>>,
    opened: Opened,
    /// Where counters are kept.
    folder: Option<PathBuf>,
}

impl Prometheus {
    /// Listens, with every metric at 0.
    ///
    /// # Errors
    /// The options are wrong, or the address cannot be listened on.
    pub async fn open(context: &BuildContext) -> Result<Prometheus, BuildError> {
        let Plan {
            options,
            metrics,
            rules,
            access,
            pump: _,
        } = Plan::read(context)?;
        let warn = |text: &str| tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{text}");
        let folder = (!options.state_dir.is_empty()).then(|| PathBuf::from(&options.state_dir));
        let (metrics, state, store) = match folder.clone() {
            Some(folder) => restore(context, folder, metrics).await?,
            None => (metrics, State::default(), None),
        };
        let (registry, book) = Registry::new(metrics, rules, state, store);
        let registry = Arc::new(registry);
        let route = Route::new(&options.path, Arc::new(Exhibit::new(registry.clone())), warn)?;
        let opened = Opened::new(&options.listen_address, access, route).await?;
        tracing::info!(prefix = SPEC.log_prefix, "Prometheus Pump Initialized");
        Ok(Prometheus {
            registry,
            book: Arc::new(Mutex::new(book)),
            opened,
            folder,
        })
    }

    /// Lets `hook` decide what of the file of counters reaches the disk from now on, as a test of faults does.
    pub async fn set_hook(&self, hook: state::Hook) {
        if let Some(store) = &mut self.book.lock().await.store {
            store.hook = Some(hook);
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.opened.local_address()
    }
}

/// Opens the file of counters.
async fn restore(
    context: &BuildContext,
    folder: PathBuf,
    metrics: Vec<Metric>,
) -> Result<(Vec<Metric>, State, Option<Store>), BuildError> {
    let pump = context.pump.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let warn = |text: &str| tracing::warn!(prefix = SPEC.log_prefix, pump = %pump, "{text}");
        let (store, state) = Store::open(&folder, &pump, &metrics, warn)?;
        Ok::<_, OpenError>((metrics, state, Some(store)))
    });
    let opened = opened.await.map_err(|error| BuildError::Unavailable(error.into()))?;
    opened.map_err(|error| match error {
        OpenError::Held(_) => BuildError::Occupied(error.into()),
        OpenError::Ours(_) | OpenError::Io { .. } => BuildError::Unavailable(error.into()),
    })
}

fn cannot_keep(error: io::Error) -> WriteError {
    let text = format!("meta.state_dir: the counters cannot be kept: {error}");
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound | io::ErrorKind::ReadOnlyFilesystem => {
            WriteError::Config(text.into())
        }
        _ => WriteError::retry(text),
    }
}

fn access(options: &Options) -> Result<Access, BuildError> {
    let wrong = |text: &str| Err(BuildError::Options(text.to_owned()));
    let auth = match (options.username.as_str(), options.password.as_str()) {
        ("", "") => None,
        ("", _) => return wrong("meta.password is set and meta.username is not – set both"),
        (_, "") => return wrong("meta.username is set and meta.password is not – set both"),
        (user, password) => Some(BasicAuth::new(user, password)),
    };
    let certificate = PemFile::of("ssl_cert_file", &options.ssl_cert_file);
    let key = PemFile::of("ssl_key_file", &options.ssl_key_file);
    let authority = PemFile::of("ssl_ca_file", &options.ssl_ca_file);
    let tls = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let identity = Identity { certificate, key };
            let config = server_config(&identity, authority.as_ref());
            let config = config.map_err(|error| BuildError::Options(format!("meta.{error}")))?;
            Some(Arc::new(config))
        }
        (None, None) if authority.is_none() => None,
        (None, None) => return wrong("meta.ssl_ca_file needs ssl_cert_file and ssl_key_file – set them"),
        (None, _) => return wrong("meta.ssl_key_file is set and meta.ssl_cert_file is not – set both"),
        (_, None) => return wrong("meta.ssl_cert_file is set and meta.ssl_key_file is not – set both"),
    };
    let files = [&options.ssl_cert_file, &options.ssl_key_file, &options.ssl_ca_file].map(String::clone);
    Ok(Access { auth, files, tls })
}

#[async_trait]
impl Sink for Prometheus {
    async fn write(&self, group: &[Selection], _applied: &Arc<Applied>) -> Result<Written, WriteError> {
        // The book moves into the thread, so that a write whose future is dropped ends before the next one begins. What that
        // one has counted stands in the ledger and is not counted again.
        let mut book = self.book.clone().lock_owned().await;
        let (registry, group) = (self.registry.clone(), group.to_vec());
        tokio::task::spawn_blocking(move || registry.count(&mut book, &group))
            .await
            .map_err(WriteError::retry)?
            .map_err(cannot_keep)?;
        Ok(Written::default())
    }

    fn guarantee(&self) -> Option<Guarantee> {
        self.folder.is_none().then_some(Guarantee::BestEffort)
    }

    fn notice(&self) -> Option<String> {
        self.registry.notice()
    }

    fn resources(&self) -> Vec<Resource> {
        let folder = self.folder.clone().map(Resource::Folder);
        [Resource::Port(self.address())].into_iter().chain(folder).collect()
    }

    async fn forget(&self, claims: &[ClaimId]) {
        self.book.lock().await.forget(claims);
    }

    async fn applied(&self, claim: ClaimId, former: Option<&str>) -> Result<Option<RowRanges>, WriteError> {
        let kept = self.book.lock().await.kept(claim);
        // The counters of a pump with another name are in another file, and go on from there.
        Ok(match former {
            Some(_) => kept.map(|_| RowRanges::new()),
            None => kept,
        })
    }

    async fn close(&self) -> Result<(), WriteError> {
        let mut book = self.book.lock().await;
        // Others may keep counters there from now on.
        book.store = None;
        self.opened.close().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
