//! The spool of a lane, as far as there is one: its files, off the lane's own thread.

use std::{path::PathBuf, sync::Arc};

use analytics::{Batch, RowRanges};

use crate::delivery::{
    disk::Disk,
    spool::{Spool, SpoolError, SpoolFile, Spooled},
};

/// The spool of a lane.
pub(in crate::delivery) struct Spooling {
    /// `delivery.spool_dir`, and the pump's key.
    place: Option<(PathBuf, Arc<str>)>,
    open: Option<Arc<Spool>>,
    disk: Disk,
}

impl Spooling {
    /// A spool below `folder` that is not open yet; `None`: there is none.
    pub(in crate::delivery) fn new(folder: Option<PathBuf>, pump: &Arc<str>, disk: Disk) -> Self {
        Self {
            place: folder.map(|folder| (folder, pump.clone())),
            open: None,
            disk,
        }
    }

    /// Whether there is a place for it at all.
    pub(in crate::delivery) fn exists(&self) -> bool {
        self.place.is_some()
    }

    /// Whether rows may be put here: the folder is ours. Tried again each time as long as it is not.
    pub(super) async fn open(&mut self) -> Result<bool, SpoolError> {
        if self.open.is_some() {
            return Ok(true);
        }
        let Some((folder, pump)) = self.place.clone() else {
            return Ok(false);
        };
        let opened = self.run(move || Spool::open(&folder, &pump)).await?;
        self.open = Some(Arc::new(opened));
        Ok(true)
    }

    /// All files, oldest claim first.
    pub(super) async fn files(&self) -> Result<Vec<SpoolFile>, SpoolError> {
        match self.open.clone() {
            Some(spool) => self.run(move || spool.files()).await,
            None => Ok(Vec::new()),
        }
    }

    /// Writes a window durably. `finished` are rows of it that need no further work.
    pub(super) async fn store(&self, batch: Arc<Batch>, finished: RowRanges) -> Result<SpoolFile, SpoolError> {
        let spool = self.spool()?;
        self.run(move || spool.store(&batch, &finished)).await
    }

    /// Reads a window back.
    pub(super) async fn load(&self, file: SpoolFile) -> Result<Spooled, SpoolError> {
        let spool = self.spool()?;
        self.run(move || spool.load(&file)).await
    }

    /// Removes a window that was delivered.
    pub(super) async fn remove(&self, file: SpoolFile) -> Result<(), SpoolError> {
        let spool = self.spool()?;
        self.run(move || spool.remove(&file)).await
    }

    /// Puts a file that cannot be read out of the way. Returns where it is now.
    pub(super) async fn quarantine(&self, file: SpoolFile) -> Result<PathBuf, SpoolError> {
        let spool = self.spool()?;
        self.run(move || spool.quarantine(&file)).await
    }

    fn spool(&self) -> Result<Arc<Spool>, SpoolError> {
        let closed = || self.failed(std::io::Error::other("the spool is not open"));
        self.open.clone().ok_or_else(closed)
    }

    fn failed(&self, source: std::io::Error) -> SpoolError {
        let path = self.place.as_ref().map(|(folder, _)| folder.clone());
        SpoolError::Io {
            path: path.unwrap_or_default(),
            source,
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        self.disk.run(job).await.map_err(|source| self.failed(source))?
    }
}
