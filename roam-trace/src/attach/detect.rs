//! Which way of attaching the kernel offers: found out by trying, never by its
//! version, since distributions carry features back and leave others out.

use super::error::AttachError;
use super::method::Method;
use super::{perf_event, uprobe_multi};

impl Method {
    /// The best one of the running kernel, found out with a program that does nothing.
    ///
    /// # Errors
    ///
    /// [`AttachError::Permission`] where that may not be loaded; [`AttachError::Unsupported`].
    pub fn detect() -> Result<Self, AttachError> {
        if let Some(filter) = uprobe_multi::pid_filter()? {
            return Ok(Self::UprobeMulti(filter));
        }
        if perf_event::is_known() {
            return Ok(Self::PerfEvent);
        }
        Err(AttachError::Unsupported {
            release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
        })
    }
}
