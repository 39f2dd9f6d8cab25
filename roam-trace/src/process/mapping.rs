//! One mapping of a process, and the file behind it.

use std::ops::ControlFlow;

/// Names a file on this machine. On some file systems (btrfs, overlayfs) a mapping names another device than
/// the file itself does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Major and minor number.
    pub device: (u32, u32),
    /// Inode number, 0 for memory without a file.
    pub inode: u64,
}

/// What a list of mappings does with each.
pub(super) type Visit<'a> = dyn FnMut(&Mapping<'_>) -> ControlFlow<()> + 'a;

/// One mapping.
#[derive(Debug, PartialEq, Eq)]
pub struct Mapping<'a> {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// Whether the process can write to it.
    pub is_writable: bool,
    /// Whether code in it can run.
    pub is_executable: bool,
    /// Whether what is written to it is seen by others that map the same file.
    pub is_shared: bool,
    /// The file behind it.
    pub file: FileId,
    /// The file's name; line breaks in it may be escaped.
    pub path: &'a [u8],
}

impl<'a> Mapping<'a> {
    /// Returns whether it is memory that the process alone writes, with no file behind it: reading it asks no file
    /// system, which could block.
    pub fn is_own_memory(&self) -> bool {
        let no_file = FileId {
            device: (0, 0),
            inode: 0,
        };
        self.is_writable && !self.is_shared && self.file == no_file
    }

    /// One line of `/proc/PID/maps`: addresses, permissions, offset, device, inode, padding, path.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |&byte| byte == b' ');
        let mut text = || std::str::from_utf8(fields.next()?).ok();
        let (start, end) = text()?.split_once('-')?;
        let permissions = text()?;
        let _offset = text()?;
        let (major, minor) = text()?.split_once(':')?;
        let inode = text()?.parse().ok()?;
        let path = fields.next().unwrap_or_default();
        Some(Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            is_writable: permissions.as_bytes().get(1) == Some(&b'w'),
            is_executable: permissions.as_bytes().get(2) == Some(&b'x'),
            is_shared: permissions.as_bytes().get(3) == Some(&b's'),
            file: FileId {
                device: (
                    u32::from_str_radix(major, 16).ok()?,
                    u32::from_str_radix(minor, 16).ok()?,
                ),
                inode,
            },
            path: path.trim_ascii_start(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &[u8], expected: Option<(u64, u64, &str, u64, &[u8])>) {
        let found = Mapping::parse(line).map(|mapping| {
            (
                mapping.start,
                mapping.end,
                match (mapping.is_executable, mapping.is_shared) {
                    (false, false) => "",
                    (true, false) => "x",
                    (false, true) => "s",
                    (true, true) => "xs",
                },
                mapping.file.inode,
                mapping.path,
            )
        });
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(line));
    }

    #[test]
    fn own_memory() {
        let own = |line: &[u8]| Mapping::parse(line).unwrap().is_own_memory();
        assert!(own(b"7f00-7f10 rw-p 00000000 00:00 0 [heap]"));
        assert!(own(b"7f00-7f10 rw-p 00000000 00:00 0"));
        assert!(!own(b"7f00-7f10 r--p 00000000 00:00 0"));
        assert!(!own(b"7f00-7f10 rw-s 00000000 00:00 0"));
        assert!(!own(b"7f00-7f10 rw-p 00000000 fe:01 17 /program"));
        assert!(!own(
            b"7f00-7f10 rw-s 00000000 00:01 2061 /memfd:x (deleted)"
        ));
    }

    #[test]
    fn lines() {
        check(
            b"7f000000-7f100000 rw-s 00000000 00:01 2061                       /memfd:roam-diagnostic (deleted)",
            Some((0x7f00_0000, 0x7f10_0000, "s", 2061, b"/memfd:roam-diagnostic (deleted)")),
        );
        check(
            b"5600-5700 r-xp 00001000 fe:01 17 /home/a b/c\\012d \xff",
            Some((0x5600, 0x5700, "x", 17, b"/home/a b/c\\012d \xff")),
        );
        check(
            b"7f00-7f10 rw-p 00000000 00:00 0 ",
            Some((0x7f00, 0x7f10, "", 0, b"")),
        );
        check(
            b"7f00-7f10 rw-p 00000000 00:00 0",
            Some((0x7f00, 0x7f10, "", 0, b"")),
        );
        check(b"7f00 rw-p 00000000 00:00 0 /x", None);
        check(b"7f00-7f10 rw-p 00000000 00:00 x /x", None);
        check(b"7f00-7f10 rw-p 00000000 0000 0 /x", None);
        check(b"\xff-\xff rw-p 0 00:00 0 /x", None);
        check(b"", None);
    }
}
