//! Starts the processes, plants incidents in them, and ends them. Speaks JSON lines with whoever started it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use serde_json::{Value, json};

use crate::control::{Order, Report};
use crate::incident::{Act, incidents};

/// The processes, in the order in which they are started.
const PROCESSES: [&str; 11] = [
    "db",
    "notifier",
    "auth",
    "catalog-1",
    "catalog-2",
    "proxy",
    "orders",
    "gateway",
    "client-1",
    "client-2",
    "client-3",
];
/// The one that runs as another user, if root starts it.
const OF_NOBODY: &str = "notifier";
const NOBODY: u32 = 65_534;
/// How long anything may take that is waited for.
const DEADLINE: Duration = Duration::from_secs(30);

/// Options of the application.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Sockets and logs; the directory must not exist
    #[arg(long)]
    directory: PathBuf,
    /// Background calls per second
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// Connections come and go
    #[arg(long)]
    churn: bool,
    /// Long polls and streams, so many of each kind
    #[arg(long, default_value_t = 0)]
    polls: u32,
    /// Their length in milliseconds
    #[arg(long, default_value_t = 6_000)]
    poll_ms: u64,
}

struct Process {
    child: Child,
    orders: ChildStdin,
    reports: Receiver<Report>,
    /// What it reported and nobody waited for yet.
    unclaimed: Vec<Report>,
}

struct Application(BTreeMap<&'static str, Process>);

/// Runs until standard input ends.
pub(crate) fn run(options: &Options) -> Result<()> {
    // Whoever started this ends it, also by dying.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    fs::create_dir_all(&options.directory)?;
    fs::set_permissions(&options.directory, fs::Permissions::from_mode(0o1777))?;
    let began = Instant::now();
    let mut application = Application(BTreeMap::new());
    for name in PROCESSES {
        let process = Process::start(name, options)?;
        application.0.insert(name, process);
    }
    for name in PROCESSES {
        application.wait(name, &Report::Ready, 1)?;
    }
    let took = began.elapsed();
    application.load(options)?;
    let pids: BTreeMap<_, _> = application
        .0
        .iter()
        .map(|(&name, process)| (name, process.child.id()))
        .collect();
    say(&json!({ "ready": pids, "took_ms": took.as_millis() }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let answer = match line.split_once(' ').unwrap_or((&line, "")) {
            ("plant", name) => application.plant(name).map(|()| json!({ "planted": name })),
            ("count", "") => application
                .count()
                .map(|counts| json!({ "counts": counts })),
            _ => bail!("unknown order: {line}"),
        };
        say(&answer.unwrap_or_else(|error| json!({ "failed": format!("{error:#}") })))?;
    }
    Ok(())
}

fn say(line: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

impl Process {
    fn start(name: &'static str, options: &Options) -> Result<Self> {
        // Not the path of the executable, which another user need not see.
        let mut command = Command::new("/proc/self/exe");
        let stderr = File::create(options.directory.join(format!("{name}.stderr")))?;
        command
            .arg0("roam-incidents")
            .args(["process", name, "--directory"])
            .arg(&options.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr);
        if name == OF_NOBODY && rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let orders = child.stdin.take().context("no standard input")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (sender, reports) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    // Nobody receives any more where the application is about to end.
                    Ok(report) => drop(sender.send(report)),
                    Err(error) => eprintln!("{name}: {error}: {line}"),
                }
            }
        });
        Ok(Self {
            child,
            orders,
            reports,
            unclaimed: Vec::new(),
        })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).context("cannot send a signal")
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        for process in self.0.values_mut() {
            // Not reaped yet, so the id is still this process's; it may have ended by itself.
            let _ = process.child.kill();
        }
        for process in self.0.values_mut() {
            let _ = process.child.wait();
        }
    }
}

impl Application {
    fn process(&mut self, name: &str) -> Result<&mut Process> {
        self.0
            .get_mut(name)
            .with_context(|| format!("no process {name}"))
    }

    /// Starts what goes on all the time; returns once long polls are usual.
    fn load(&mut self, options: &Options) -> Result<()> {
        if options.rate > 0 {
            for (client, has_limit) in [("client-1", false), ("client-2", true)] {
                let rate = f64::from(options.rate) / 2.0;
                self.order(client, &Order::Load { rate, has_limit })?;
            }
        }
        if options.churn {
            self.order("client-1", &Order::ComeAndGo)?;
        }
        if options.polls > 0 {
            let poll = Order::Poll {
                count: options.polls,
                length_ms: options.poll_ms,
            };
            self.order("client-2", &poll)?;
            self.wait("client-2", &Report::Warm, 1)?;
        }
        Ok(())
    }

    /// Plants an incident, and returns once it has taken effect.
    fn plant(&mut self, name: &str) -> Result<()> {
        let mut all = incidents().into_iter();
        let incident = all.find(|incident| incident.name == name);
        for act in incident
            .with_context(|| format!("no incident {name}"))?
            .plant
        {
            match act {
                Act::Order(name, order) => self.order(name, &order)?,
                Act::Await(name, report, count) => self.wait(name, &report, count)?,
                Act::Stop(name) => {
                    let process = self.process(name)?;
                    process.signal(Signal::STOP)?;
                    await_state(process.child.id(), 'T')?;
                }
                Act::Kill(name) => {
                    let process = self.process(name)?;
                    process.child.kill()?;
                    process.child.wait()?;
                }
            }
        }
        Ok(())
    }

    fn order(&mut self, name: &str, order: &Order) -> Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        let process = self.process(name)?;
        let written = process.orders.write_all(&line);
        written.with_context(|| format!("cannot give {name} an order"))
    }

    /// Waits until a process has reported something that often.
    fn wait(&mut self, name: &str, wanted: &Report, mut count: u32) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let process = self.process(name)?;
        process.unclaimed.retain(|report| {
            let is_wanted = count > 0 && report == wanted;
            count -= u32::from(is_wanted);
            !is_wanted
        });
        while count > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            let report = process.reports.recv_timeout(left);
            let report = report.with_context(|| format!("{name} does not report {wanted:?}"))?;
            match report == *wanted {
                true => count -= 1,
                false => process.unclaimed.push(report),
            }
        }
        Ok(())
    }

    /// The calls that have ended, by process.
    fn count(&mut self) -> Result<BTreeMap<&'static str, Value>> {
        let mut counts = BTreeMap::new();
        for name in PROCESSES {
            self.order(name, &Order::Count)?;
            let deadline = Instant::now() + DEADLINE;
            let process = self.process(name)?;
            let count = loop {
                let left = deadline.saturating_duration_since(Instant::now());
                match process.reports.recv_timeout(left).context("no counts")? {
                    Report::Counts(counts) => break counts,
                    report => process.unclaimed.push(report),
                }
            };
            counts.insert(name, count);
        }
        Ok(counts)
    }
}

/// Waits until a process is in that state, as `/proc` has it.
fn await_state(pid: u32, wanted: char) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields.trim_start());
        if fields.is_some_and(|fields| fields.starts_with(wanted)) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "process {pid} is not stopped");
        thread::sleep(Duration::from_millis(2));
    }
}
