//! Sets of probes that stay armed: programs, maps and links that are pinned under bpffs, for every process of an
//! executable.
//!
//! Owns the pins, and what is believed of them: nothing that another user than root could have made. What the programs
//! do and what the maps hold is that of [`attach`](crate::attach) and [`kernel`](crate::kernel).

mod directory;
mod error;
mod executable;
mod make;
mod program_time;
mod remove;
mod set;
mod watch;

pub use error::ArmedError;
pub use executable::{Executable, ToArm, Version, shown};
pub use make::{Outcome, arm};
pub use program_time::ProgramTime;
pub use remove::{Removed, disarm, disarm_all};
pub use set::ArmedSet;
pub use watch::watch;
