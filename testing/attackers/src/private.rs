//! Namespaces that need no privilege. What is made in them is gone with their last process.

use std::env::set_current_dir;
use std::ffi::CStr;
use std::fs;
use std::io::Result;
use std::ptr::null;

use crate::siege::check;

/// Enters a user namespace, in which this process may do everything, and others with it.
pub(crate) fn enter(namespaces: i32) -> Result<()> {
    // SAFETY: all three only take numbers.
    let (user, group) = unsafe {
        let (user, group) = (libc::geteuid(), libc::getegid());
        check(libc::unshare(libc::CLONE_NEWUSER | namespaces).into())?;
        (user, group)
    };
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// Makes an empty file system, which no other process sees, the current directory. It has room for what memory has.
pub(crate) fn enter_empty_directory() -> Result<()> {
    enter(libc::CLONE_NEWNS)?;
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: strings of C's, or null where none is needed.
    check(unsafe { libc::mount(null(), c"/".as_ptr(), null(), private, null()) }.into())?;
    mount(c"tmpfs", c"/tmp", c"size=1g,nr_inodes=2m,mode=755")?;
    set_current_dir("/tmp")
}

/// Mounts a file system without a device.
pub(crate) fn mount(kind: &CStr, target: &CStr, options: &CStr) -> Result<()> {
    let (kind, target, options) = (kind.as_ptr(), target.as_ptr(), options.as_ptr());
    // SAFETY: strings of C's.
    check(unsafe { libc::mount(kind, target, kind, 0, options.cast()) }.into()).map(drop)
}

/// The same as the root directory, so that files in it have the paths that one gives them.
pub(crate) fn enter_empty_root() -> Result<()> {
    enter_empty_directory()?;
    let here: &CStr = c".";
    // SAFETY: strings of C's.
    unsafe {
        check(libc::syscall(
            libc::SYS_pivot_root,
            here.as_ptr(),
            here.as_ptr(),
        ))?;
        // What was the root lies on the new one.
        check(libc::umount2(here.as_ptr(), libc::MNT_DETACH).into())?;
    }
    set_current_dir("/")
}
