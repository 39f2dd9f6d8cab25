//! What a process is to the others: its name, where its sockets are, and its logs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

use crate::witness::Witness;

pub(crate) struct Node {
    /// The process, such as `catalog-1`.
    pub(crate) name: String,
    /// Sockets and logs.
    pub(crate) directory: PathBuf,
    pub(crate) witness: Witness,
}

impl Node {
    pub(crate) fn new(name: &str, directory: &Path) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            witness: Witness::new(directory)?,
        }))
    }
}
