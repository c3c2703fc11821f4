//! The thread that a SQLite connection lives on: its calls block.

use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, mpsc},
    thread,
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use super::{error::classify, location::Location};
use crate::backends::sql::database::DatabaseError;

/// Something to do with the connection, which is opened when it is not there.
type Task = Box<dyn FnOnce(&mut Option<Opened>) + Send>;

/// A connection, and the file that it has open.
struct Opened {
    connection: Connection,
    /// Device and inode; `None`: the database lives in memory.
    file: Option<(u64, u64)>,
}

/// Sends work to the thread, which ends when the last of these is gone. Work is done in the order of sending.
#[derive(Clone)]
pub(super) struct Worker {
    tasks: mpsc::Sender<Task>,
    location: Arc<Location>,
}

impl Worker {
    pub(super) fn start(location: Location) -> std::io::Result<Worker> {
        let (tasks, received) = mpsc::channel::<Task>();
        thread::Builder::new().name("sqlite".to_owned()).spawn(move || {
            let mut connection = None;
            for task in received {
                task(&mut connection);
            }
        })?;
        Ok(Worker {
            tasks,
            location: Arc::new(location),
        })
    }

    /// Does `work` on the thread. When the future is dropped the work is done all the same.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let (done, result) = oneshot::channel();
        let location = self.location.clone();
        self.send(move |slot| {
            let outcome = open(slot, &location).and_then(work);
            // Nobody may be waiting any more.
            let _ = done.send(outcome);
        });
        result
            .await
            .unwrap_or_else(|_| Err(DatabaseError::retry("the thread of the SQLite database has ended")))
    }

    /// Rolls back whatever is open, after the work that has been sent before.
    pub(super) fn roll_back(&self) {
        self.send(|slot| {
            if let Some(Opened { connection, .. }) = slot
                && !connection.is_autocommit()
                && connection.execute_batch("ROLLBACK").is_err()
            {
                // Closing it does.
                *slot = None;
            }
        });
    }

    /// Closes the connection.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        self.send(move |slot| {
            *slot = None;
            let _ = done.send(());
        });
        let _ = closed.await;
    }

    fn send(&self, task: impl FnOnce(&mut Option<Opened>) + Send + 'static) {
        // A thread that has ended drops the task, and with it whoever waits learns.
        let _ = self.tasks.send(Box::new(task));
    }
}

fn open<'a>(slot: &'a mut Option<Opened>, location: &Location) -> Result<&'a mut Connection, DatabaseError> {
    // Somebody may have removed or moved the file: what is written to it then is lost, or is where nobody looks.
    let opened = match slot.take() {
        Some(opened) if opened.file == file_at(location) => opened,
        Some(opened) if !opened.connection.is_autocommit() => {
            leave(opened);
            return Err(DatabaseError::retry(
                "the file of the database was moved or removed during a transaction",
            ));
        }
        // The old one is closed first, with its log in the file that it belongs to.
        other => {
            if let Some(old) = other {
                leave(old);
            }
            let connection = connect(location)?;
            let file = file_at(location);
            Opened { connection, file }
        }
    };
    Ok(&mut slot.insert(opened).connection)
}

/// Closes a file that was moved. SQLite does not bring its log (WAL) home then, and whoever opens the old name next
/// deletes the log: so what is committed is written to the file itself first. Of a file that was removed nothing is left.
fn leave(old: Opened) {
    if !old.connection.is_autocommit() {
        let _ = old.connection.execute_batch("ROLLBACK");
    }
    let _ = old
        .connection
        .pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()));
}

/// Device and inode of the file that the options name.
fn file_at(location: &Location) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(location.file.as_deref()?).ok()?;
    Some((meta.dev(), meta.ino()))
}

fn connect(location: &Location) -> Result<Connection, DatabaseError> {
    if let Some(folder) = location.file.as_deref().and_then(Path::parent)
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        return Err(DatabaseError::Config(
            format!(
                "connection_string: the folder {} does not exist; create it, the pump makes only the file",
                folder.display()
            )
            .into(),
        ));
    }
    let connection = Connection::open_with_flags(&location.target, OpenFlags::default()).map_err(classify)?;
    for (name, value) in &location.pragmas {
        // Some pragmas answer with a row, others with none.
        connection
            .pragma_update_and_check(None, name, value, |_| Ok(()))
            .or_else(|error| match error {
                rusqlite::Error::QueryReturnedNoRows => Ok(()),
                error => Err(classify(error)),
            })?;
    }
    Ok(connection)
}
