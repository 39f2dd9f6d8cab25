//! What the arguments of a process that a host spawned say: which hub, which peer, and which descriptor its doorbell is.

use super::proc::Process;

/// The arguments that a host gives a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GuestArguments {
    /// The path of the hub, as the host has it.
    pub(super) hub_path: Vec<u8>,
    /// The number of the peer.
    pub(super) peer: u8,
    /// The descriptor of its doorbell.
    pub(super) doorbell: Option<i32>,
}

impl GuestArguments {
    /// Reads the arguments of a process, if it is a guest.
    pub(super) fn of(process: &Process) -> Option<Self> {
        Self::parse(&process.read_file("cmdline").ok()?)
    }

    fn parse(command_line: &[u8]) -> Option<Self> {
        let (mut hub_path, mut peer, mut doorbell) = (None, None, None);
        for argument in command_line.split(|&byte| byte == 0) {
            if let Some(value) = argument.strip_prefix(b"--hub-path=") {
                hub_path = Some(value);
            } else if let Some(value) = argument.strip_prefix(b"--peer-id=") {
                peer = Some(number(value)?);
            } else if let Some(value) = argument.strip_prefix(b"--doorbell-fd=") {
                doorbell = Some(number(value)?);
            }
        }
        Some(Self {
            hub_path: hub_path?.to_vec(),
            peer: peer.filter(|&peer| peer > 0)?,
            doorbell,
        })
    }

    /// Returns whether they name this path. In another mount namespace only the last part of it is the same.
    pub(super) fn name_hub(&self, path: &str) -> bool {
        let last = |path: &[u8]| path.rsplit(|&byte| byte == b'/').next().map(<[u8]>::to_vec);
        last(&self.hub_path) == last(path.as_bytes())
    }
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_guests() {
        let arguments = |line: &str| GuestArguments::parse(line.as_bytes());
        let guest = arguments("cell\0--hub-path=/tmp/a/hub\0--peer-id=3\0--doorbell-fd=9\0");
        let guest = guest.unwrap();
        assert_eq!((guest.peer, guest.doorbell), (3, Some(9)));
        assert!(guest.name_hub("/tmp/a/hub") && guest.name_hub("/root/tmp/a/hub"));
        assert!(!guest.name_hub("/tmp/a/other"));
        assert!(arguments("cell\0--hub-path=/tmp/hub\0--peer-id=1\0").is_some());
        for line in [
            "cell\0--peer-id=3\0--doorbell-fd=9\0",
            "cell\0--hub-path=/tmp/hub\0--peer-id=0\0",
            "cell\0--hub-path=/tmp/hub\0--peer-id=256\0",
            "cell\0--hub-path=/tmp/hub\0--peer-id=\0",
            "",
        ] {
            assert_eq!(arguments(line), None, "{line}");
        }
    }
}
