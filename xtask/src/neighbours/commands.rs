//! The command lines that are tried beside every attack, and what each must find.

use std::time::Duration;

use super::attacks::Attack;
use super::measured::Measured;
use crate::demo::Demo;

const MEMORY_BYTES: u64 = 64 << 20;
const CPU: Duration = Duration::from_secs(2);
const CPU_OF_CROWD: Duration = Duration::from_secs(4);
const WALL: Duration = Duration::from_secs(10);
/// The status of `--fail-if-stuck` where something is.
const STUCK: i32 = 5;

/// The method of the demo's call that hangs.
const METHOD: &str = "TcpTunnel.open";

/// The heading of what a judgement looks at.
const GRAPH: &str = "WAIT GRAPH";

/// How the tool is called.
#[derive(Clone, Copy)]
pub(super) enum Line {
    /// Everything on the machine, as a check.
    All,
    List,
    /// The demo's host.
    Victim,
    /// The same with the probes attached.
    Probed,
    /// What the unit of docs/verdicts.md runs.
    Unit,
}

impl Line {
    pub(super) const ALL: [Self; 5] = [
        Self::All,
        Self::List,
        Self::Victim,
        Self::Probed,
        Self::Unit,
    ];

    pub(super) fn arguments(self, demo: &Demo) -> Vec<String> {
        let host = demo.host.to_string();
        let words: &[&str] = match self {
            Self::All => &["--all", "--fail-if-stuck", "3s"],
            Self::List => &["list"],
            Self::Victim => &["-p", &host],
            Self::Probed => &["-p", &host, "-d", "2s"],
            Self::Unit => &["--all", "--source", "registry", "--fail-if-stuck", "30s"],
        };
        words.iter().map(|&word| word.to_owned()).collect()
    }

    /// As the table has it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::All => "`--all --fail-if-stuck 3s`",
            Self::List => "`list`",
            Self::Victim => "`-p VICTIM`",
            Self::Probed => "`-p VICTIM -d 2s`",
            Self::Unit => "`--all --source registry --fail-if-stuck 30s`",
        }
    }

    /// What is wrong with how it ended, and with what it took.
    pub(super) fn judge(self, measured: &Measured, demo: &Demo, attack: &Attack) -> Vec<String> {
        let mut wrong = Vec::new();
        match measured.status {
            None => wrong.push("killed".to_owned()),
            Some(status) => {
                if !self.statuses().contains(&status) {
                    wrong.push(format!("status {status}"));
                }
                if !self.finds(measured, demo) {
                    wrong.push("the victim is not named".to_owned());
                }
            }
        }
        if !(measured.stdout.is_printable && measured.stderr.is_printable) {
            wrong.push("unprintable text".to_owned());
        }
        let cpu = if attack.is_crowd { CPU_OF_CROWD } else { CPU };
        for (what, is_over) in [
            ("memory", measured.peak_bytes > MEMORY_BYTES),
            ("CPU", measured.cpu > cpu),
            ("wall time", measured.took > WALL),
        ] {
            if is_over {
                wrong.push(what.to_owned());
            }
        }
        wrong
    }

    fn statuses(self) -> &'static [i32] {
        match self {
            Self::All | Self::Unit => &[STUCK],
            // 1 where an attacker cannot be read.
            Self::List => &[0, 1],
            Self::Victim | Self::Probed => &[0],
        }
    }

    /// Whether the output has what hangs in the demo.
    fn finds(self, measured: &Measured, demo: &Demo) -> bool {
        let lines = &measured.stdout.lines;
        let graph = lines.iter().skip_while(|line| !line.contains(GRAPH));
        let graph: Vec<_> = graph.collect();
        let names = |line: &str, pid: u32| {
            labels(pid).iter().any(|label| line.contains(label)) && line.contains(METHOD)
        };
        match self {
            // The handler runs in one of the cells.
            Self::All | Self::Unit => {
                let is_named = |line: &String| demo.cells.iter().any(|&cell| names(line, cell));
                graph.into_iter().any(is_named) && measured.stderr.lines.iter().any(is_named)
            }
            Self::List => processes(demo).all(|pid| {
                let pid = pid.to_string();
                let mut rows = lines.iter();
                rows.any(|row| row.split_whitespace().next() == Some(&pid))
            }),
            // Which processes its cells are is not known without sock_diag, which not every kernel has.
            Self::Victim | Self::Probed => graph.iter().any(|line| names(line, demo.host)),
        }
    }
}

/// What every line has that a judgement rests on.
pub(super) fn words(demo: &Demo) -> Vec<String> {
    let pids = processes(demo).map(|pid| pid.to_string());
    pids.chain([GRAPH.to_owned()]).collect()
}

fn processes(demo: &Demo) -> impl Iterator<Item = u32> {
    std::iter::once(demo.host).chain(demo.cells.iter().copied())
}

/// How dumps write a pid, of processes of one user and of several.
fn labels(pid: u32) -> [String; 2] {
    [format!("[{pid}]"), format!("[{pid} uid ")]
}
