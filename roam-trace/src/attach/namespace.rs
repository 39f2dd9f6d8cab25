//! The pid namespace of the tracer: the programs give pids as that one numbers
//! them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::error::AttachError;
use super::probed::ProbedProcess;

/// Inode of the initial pid namespace, fixed by the kernel (`PROC_PID_INIT_INO`).
const INITIAL_INODE: u64 = 0xefff_fffc;

/// What the programs need to translate a pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PidNamespace {
    /// Device of the namespace's file.
    pub(super) device: u64,
    /// Its inode; 0 in the initial namespace, where nothing is translated.
    pub(super) inode: u64,
}

impl PidNamespace {
    /// The tracer's. In a container, `bpf_get_ns_current_pid_tgid` knows only the processes whose own
    /// namespace is the tracer's, so a target in another one is refused.
    pub(super) fn of_tracer(targets: &[ProbedProcess]) -> Result<Self, AttachError> {
        let failed = |tgid| move |source| AttachError::ReadNamespace { tgid, source };
        let own = namespace("self").map_err(failed(std::process::id()))?;
        if own.1 == INITIAL_INODE {
            return Ok(Self {
                device: 0,
                inode: 0,
            });
        }
        for target in targets {
            let tgid = target.tgid;
            let of_target = namespace(&tgid.to_string()).map_err(|source| {
                match source.kind() == io::ErrorKind::NotFound {
                    true => AttachError::NoProcess { tgid },
                    false => AttachError::ReadNamespace { tgid, source },
                }
            })?;
            if of_target != own {
                return Err(AttachError::Namespace { tgid });
            }
        }
        let (device, inode) = own;
        Ok(Self {
            device: kernel_device(device),
            inode,
        })
    }
}

/// Device and inode of a process's pid namespace.
fn namespace(process: &str) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(format!("/proc/{process}/ns/pid"))?;
    Ok((metadata.dev(), metadata.ino()))
}

/// A device number as the kernel itself has it, which the helper compares with: stat(2) gives it
/// in the encoding of user space.
fn kernel_device(device: u64) -> u64 {
    const MINOR_BITS: u32 = 20;
    u64::from(libc::major(device)) << MINOR_BITS | u64::from(libc::minor(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_encoded_as_the_kernel_has_them() {
        assert_eq!(kernel_device(libc::makedev(0, 4)), 4);
        assert_eq!(kernel_device(libc::makedev(8, 1)), 0x80_0001);
    }

    #[test]
    fn the_initial_namespace_needs_no_translation() {
        let namespace = PidNamespace::of_tracer(&[]).unwrap();
        let own = fs::metadata("/proc/self/ns/pid").unwrap().ino();
        assert_eq!(namespace.inode == 0, own == INITIAL_INODE);
    }
}
