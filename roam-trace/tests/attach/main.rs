//! The kernel side on a real kernel: this test binary starts itself again as a
//! process with probes, has it fire events that are known, and compares what the
//! kernel maps say.

mod process;

use std::io;
use std::process::Command;

use process::{Process, Role, run_role, wait_until};
use roam_trace::attach::{self, AttachError, Method, Options, PidFilter, Rows, Tracer};
use roam_trace_common::event::{
    ChannelDirection, ChannelSide, ChannelValue, ConnectionValue, Direction, Loss, Mark, Outcome,
    Phase, RecordKey, RequestKind, RequestValue, Role as ConnectionRole, TargetEnd, TrafficValue,
    pack_channel, pack_request,
};

/// Not a test: what the processes run that the tests start.
#[test]
#[ignore = "is run by the other tests"]
fn process_under_test() {
    run_role();
}

/// Without uprobe_multi, all other tests are tests of perf events.
#[test]
#[ignore = "needs root"]
fn attaches_by_the_best_way_of_the_kernel() {
    let uname = rustix::system::uname();
    let release = uname.release().to_str().unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map(|word| word.parse::<u32>().ok());
    let version = (numbers.next().flatten(), numbers.next().flatten());
    let expected = match version {
        version if version >= (Some(6), Some(10)) => Method::UprobeMulti(PidFilter::Kernel),
        version if version >= (Some(6), Some(6)) => Method::UprobeMulti(PidFilter::Program),
        _ => Method::PerfEvent,
    };
    assert_eq!(Method::detect().unwrap(), expected, "{release}");
    assert_eq!(attach::check_kernel().unwrap(), expected);
}

fn outgoing(phase: Phase) -> u64 {
    pack_request(Direction::Outgoing, phase, RequestKind::Call)
}

fn key(process: &Process, serial: u64) -> RecordKey {
    RecordKey {
        serial,
        tgid: process.tgid(),
        reserved: 0,
    }
}

fn attach_to(processes: &[&Process], options: Options) -> Tracer {
    let targets: Vec<_> = processes.iter().map(|process| process.target()).collect();
    Tracer::attach(&targets, options).unwrap()
}

fn serials<V>(rows: &[(RecordKey, V)]) -> Vec<u64> {
    let mut serials: Vec<u64> = rows.iter().map(|(key, _)| key.serial).collect();
    serials.sort_unstable();
    serials
}

#[test]
#[ignore = "needs root"]
fn every_event_arrives_with_its_arguments() {
    let mut process = Process::start(Role::Target);
    let tracer = attach_to(&[&process], Options::default());

    process.fire(
        "connection_open",
        [7, 7, 0, ConnectionRole::Acceptor.code().into()],
    );
    process.fire(
        "request_start",
        [100, 7, 93, 0xabcd, outgoing(Phase::Queued), 512],
    );
    process.fire(
        "request_start",
        [101, 7, 94, 0xef01, outgoing(Phase::Queued), 0, 100],
    );
    process.fire(
        "request_start",
        [102, 7, 95, 0xef01, outgoing(Phase::Queued), 0],
    );
    process.fire("request_phase", [100, Phase::Sent.code().into(), 0, 0]);
    // Late: does not undo that the request was sent.
    process.fire(
        "request_phase",
        [100, Phase::HandedOver.code().into(), 0, 0],
    );
    let orphaned = Mark::Orphaned.code().into();
    process.fire(
        "request_phase",
        [101, Phase::Responded.code().into(), orphaned, 77],
    );
    process.fire("request_end", [102, Outcome::Ok.code().into(), 5]);
    let tx = pack_channel(ChannelDirection::Tx, ChannelSide::Client, 3);
    process.fire("channel_open", [200, 7, 370, 100, tx, u64::MAX]);
    process.fire("channel_open", [201, 7, 372, 100, tx, u64::MAX]);
    process.fire(
        "channel_data",
        [200, ChannelDirection::Tx.code().into(), 1000, u64::MAX],
    );
    process.fire(
        "channel_data",
        [200, ChannelDirection::Tx.code().into(), 24, u64::MAX],
    );
    process.fire(
        "channel_data",
        [200, ChannelDirection::Rx.code().into(), 3, 4096],
    );
    process.fire("channel_close", [201]);
    process.fire(
        "connection_open",
        [8, 7, 1, ConnectionRole::Initiator.code().into()],
    );
    process.fire("connection_close", [8]);

    let maps = tracer.snapshot().unwrap();
    assert_eq!(serials(&maps.requests), [100, 101]);
    let request = |serial| {
        let row = maps.requests.iter().find(|(key, _)| key.serial == serial);
        row.unwrap().1
    };
    let (sent, responded) = (request(100), request(101));
    assert!(sent.started_ns < sent.phase_ns);
    assert!(sent.started_ns < responded.started_ns);
    assert_eq!(
        sent,
        RequestValue {
            connection: 7,
            request_id: 93,
            method_id: 0xabcd,
            request_bytes: 512,
            direction: Direction::Outgoing.code(),
            phase: Phase::Sent.code(),
            kind: RequestKind::Call.code(),
            started_ns: sent.started_ns,
            phase_ns: sent.phase_ns,
            seen: 1,
            ..RequestValue::default()
        }
    );
    assert_eq!(responded.mark, Mark::Orphaned.code());
    assert_eq!(responded.response_bytes, 77);

    let [(channel_key, channel)] = maps.channels[..] else {
        panic!("{:?}", maps.channels)
    };
    assert_eq!(channel_key, key(&process, 200));
    assert!(channel.last_activity_ns > channel.opened_ns);
    assert_eq!(
        channel,
        ChannelValue {
            connection: 7,
            channel_id: 370,
            request: 100,
            bytes_sent: 1024,
            items_sent: 2,
            bytes_received: 3,
            items_received: 1,
            receive_budget_bytes: 4096,
            direction: ChannelDirection::Tx.code(),
            side: ChannelSide::Client.code(),
            type_index: 3,
            opened_ns: channel.opened_ns,
            last_activity_ns: channel.last_activity_ns,
            seen: 1,
        }
    );
    let [(connection_key, connection)] = maps.connections[..] else {
        panic!("{:?}", maps.connections)
    };
    assert_eq!(connection_key, key(&process, 7));
    assert_eq!(connection.role, ConnectionRole::Acceptor.code());
    let traffic = TrafficValue {
        started: 3,
        ended: 1,
    };
    assert_eq!(maps.traffic, [(key(&process, 7), traffic)]);
    assert!(maps.losses.is_empty() && maps.exited.is_empty());
}

#[test]
#[ignore = "needs root"]
fn nothing_is_lost_or_counted_twice() {
    const THREADS: u64 = 4;
    const PAIRS: u64 = 50_000;
    let mut process = Process::start(Role::Target);
    // Named twice, the binary and its sites are still attached to once.
    let mut target = process.target();
    let sites = target.files[0].sites.clone();
    target.files[0].sites.extend(sites);
    target.files.push(target.files[0].clone());
    let tracer = Tracer::attach(&[target], Options::default()).unwrap();
    process.command(&format!("burst {THREADS} {PAIRS}"));
    let maps = tracer.snapshot().unwrap();
    let (started, ended) = (THREADS * PAIRS, THREADS * PAIRS);
    assert_eq!(
        maps.traffic,
        [(key(&process, 7), TrafficValue { started, ended })]
    );
    assert!(maps.requests.is_empty());
    assert!(maps.losses.is_empty(), "{:?}", maps.losses);
}

#[test]
#[ignore = "needs root"]
fn more_rows_than_one_batch_are_read() {
    const ROWS: u64 = 100_000;
    let mut process = Process::start(Role::Target);
    let tracer = attach_to(&[&process], Options::default());
    process.command(&format!("start {ROWS}"));
    let maps = tracer.snapshot().unwrap();
    assert_eq!(serials(&maps.requests), (1..=ROWS).collect::<Vec<_>>());
}

/// Serials and times differ; parents are given by their ids.
fn reported(process: &mut Process) -> (Vec<RequestValue>, Vec<TrafficValue>, Vec<(Loss, u64)>) {
    let tracer = attach_to(&[process], Options::default());
    process.command("report");
    let maps = tracer.snapshot().unwrap();
    let id_of = |serial| {
        let row = maps.requests.iter().find(|(key, _)| key.serial == serial);
        row.map_or(0, |(_, value)| value.request_id)
    };
    let mut requests: Vec<_> = (maps.requests.iter())
        .map(|(_, value)| RequestValue {
            started_ns: 0,
            phase_ns: 0,
            parent: id_of(value.parent),
            ..*value
        })
        .collect();
    requests.sort_by_key(|value| value.request_id);
    let traffic = maps.traffic.iter().map(|(_, value)| *value).collect();
    (requests, traffic, maps.losses.iter().collect())
}

#[test]
#[ignore = "needs root"]
fn probes_say_the_same_with_and_without_rows() {
    let with_rows = reported(&mut Process::start_with("on"));
    assert_eq!(reported(&mut Process::start_with("probes")), with_rows);
    let (requests, traffic, _) = with_rows;
    let parents = requests
        .iter()
        .map(|value| (value.request_id, value.parent));
    assert_eq!(parents.collect::<Vec<_>>(), [(1, 0), (2, 1), (3, 1)]);
    assert_eq!((traffic[0].started, traffic[0].ended), (4, 1));
}

#[test]
#[ignore = "needs root"]
fn only_the_processes_that_were_named_are_traced() {
    let mut first = Process::start(Role::Target);
    let mut second = Process::start(Role::Target);
    let mut other = Process::start(Role::Target);
    let tracer = attach_to(&[&first, &second], Options::default());
    for process in [&mut first, &mut second, &mut other] {
        process.fire("request_start", [1, 7, 1, 1, outgoing(Phase::Queued), 0]);
    }
    let mut keys: Vec<_> = tracer
        .snapshot()
        .unwrap()
        .requests
        .iter()
        .map(|row| row.0)
        .collect();
    keys.sort_by_key(|key| key.tgid);
    let mut expected = [key(&first, 1), key(&second, 1)];
    expected.sort_by_key(|key| key.tgid);
    assert_eq!(keys, expected);
    // Nor does it trap, where the kernel filters by process.
    let byte_of_other = match Method::detect().unwrap().pid_filter() {
        PidFilter::Kernel => 0x90,
        PidFilter::Program => 0xcc,
    };
    assert_eq!(other.byte_at("request_start"), byte_of_other);
    assert_eq!(first.byte_at("request_start"), 0xcc);
}

#[test]
#[ignore = "needs root"]
fn a_full_map_is_counted() {
    let mut process = Process::start(Role::Target);
    let options = Options {
        max_requests: 4,
        max_channels: 2,
        ..Options::default()
    };
    let tracer = attach_to(&[&process], options);
    process.command("start 10");
    for serial in 1..=3 {
        process.fire("channel_open", [serial, 7, 1, 0, 0, 0]);
    }
    let maps = tracer.snapshot().unwrap();
    assert_eq!(maps.requests.len(), 4);
    assert_eq!(maps.channels.len(), 2);
    assert_eq!(
        maps.losses.iter().collect::<Vec<_>>(),
        [(Loss::RequestInsert, 6), (Loss::ChannelInsert, 1)]
    );
}

#[test]
#[ignore = "needs root"]
fn what_began_before_is_seeded_and_leaves_no_ghosts() {
    let mut process = Process::start(Role::Target);
    let mut tracer = attach_to(&[&process], Options::default());
    let row = |phase: Phase, phase_ns| RequestValue {
        connection: 7,
        started_ns: 1,
        phase_ns,
        phase: phase.code(),
        direction: Direction::Outgoing.code(),
        ..RequestValue::default()
    };

    // The probes see the start of 4, so what the registry says of it is not needed.
    process.fire("request_start", [4, 7, 94, 1, outgoing(Phase::Queued), 0]);
    // 1 ends after the registry was read and before it is put in.
    process.fire("request_end", [1, Outcome::Ok.code().into(), 0]);
    let first = Rows {
        requests: (1..=4)
            .map(|serial| (key(&process, serial), row(Phase::Queued, 1)))
            .collect(),
        channels: vec![(
            key(&process, 1),
            ChannelValue {
                items_sent: 5,
                ..ChannelValue::default()
            },
        )],
        connections: vec![(key(&process, 7), ConnectionValue::default())],
    };
    let seeded = tracer.seed(&first).unwrap();
    assert_eq!((seeded.inserted, seeded.present, seeded.full), (5, 1, 0));
    // 2 ends after it was put in; 3 was sent in between, unseen.
    process.fire("request_end", [2, Outcome::Ok.code().into(), 0]);
    process.fire(
        "channel_data",
        [1, ChannelDirection::Tx.code().into(), 9, 0],
    );
    let mut now = first.clone();
    now.requests = vec![
        (key(&process, 3), row(Phase::Sent, 9)),
        (key(&process, 4), row(Phase::Queued, 1)),
    ];
    tracer.reconcile(&now).unwrap();

    let maps = tracer.snapshot().unwrap();
    assert_eq!(serials(&maps.requests), [3, 4]);
    // Of the rows that were put in, a probe reported the channel only.
    for (key, value) in &maps.requests {
        assert_eq!(value.seen, u32::from(key.serial == 4));
    }
    assert_eq!(
        (maps.channels[0].1.seen, maps.connections[0].1.seen),
        (1, 0)
    );
    let sent = maps
        .requests
        .iter()
        .find(|(key, _)| key.serial == 3)
        .unwrap()
        .1;
    assert_eq!(sent, row(Phase::Sent, 9));
    assert_eq!(maps.channels[0].1.items_sent, 6);
    assert_eq!(serials(&maps.connections), [7]);
    // Of the ends, only that of 2 was of a row: 1 was in flight before the probes were attached.
    assert_eq!(
        maps.traffic[0].1,
        TrafficValue {
            started: 1,
            ended: 1
        }
    );
    assert!(maps.losses.is_empty());

    process.fire("request_phase", [3, Phase::Responded.code().into(), 0, 7]);
    let maps = tracer.snapshot().unwrap();
    let is_3 = |row: &&(RecordKey, RequestValue)| row.0.serial == 3;
    assert_eq!(maps.requests.iter().find(is_3).unwrap().1.seen, 1);

    process.fire("request_end", [3, Outcome::Ok.code().into(), 0]);
    process.fire("request_end", [3, Outcome::Ok.code().into(), 0]);
    process.fire("channel_close", [99]);
    let maps = tracer.snapshot().unwrap();
    assert_eq!(serials(&maps.requests), [4]);
    assert_eq!(
        maps.losses.iter().collect::<Vec<_>>(),
        [(Loss::RequestUnmatched, 1), (Loss::ChannelUnmatched, 1)]
    );
}

#[test]
#[ignore = "needs root"]
fn exec_and_exit_leave_no_rows() {
    let mut execs = Process::start(Role::Target);
    let mut exits = Process::start(Role::Target);
    let mut stays = Process::start(Role::Target);
    let mut tracer = attach_to(
        &[&execs, &exits, &stays],
        Options {
            verbose: true,
            ..Options::default()
        },
    );
    for process in [&mut execs, &mut exits, &mut stays] {
        process.fire("request_start", [1, 7, 1, 1, outgoing(Phase::Queued), 0]);
        process.fire("channel_open", [1, 7, 1, 0, 0, 0]);
        process.fire("connection_open", [7, 7, 0, 1]);
    }
    assert_eq!(tracer.snapshot().unwrap().requests.len(), 3);

    // Neither the end of a thread nor that of the first one ends the process.
    stays.command("thread");
    stays.exit_leader();
    stays.fire("request_start", [2, 7, 1, 1, outgoing(Phase::Queued), 0]);
    execs.command("exec");
    // The new program has the same probes; its records are not those that were traced.
    execs.fire("request_start", [3, 7, 1, 1, outgoing(Phase::Queued), 0]);
    exits.exit();

    let maps = tracer.snapshot().unwrap();
    let tgids = |keys: Vec<u32>| keys.iter().all(|tgid| *tgid == stays.tgid());
    assert_eq!(serials(&maps.requests), [1, 2]);
    assert!(tgids(maps.requests.iter().map(|row| row.0.tgid).collect()));
    assert!(tgids(maps.channels.iter().map(|row| row.0.tgid).collect()));
    assert!(tgids(
        maps.connections.iter().map(|row| row.0.tgid).collect()
    ));
    assert!(tgids(maps.traffic.iter().map(|row| row.0.tgid).collect()));
    let mut exited: Vec<_> = maps
        .exited
        .iter()
        .map(|exited| (exited.tgid, exited.end))
        .collect();
    exited.sort_unstable();
    let mut expected = [
        (execs.tgid(), TargetEnd::Exec),
        (exits.tgid(), TargetEnd::Exit),
    ];
    expected.sort_unstable();
    assert_eq!(exited, expected);

    let lines = tracer.log_lines();
    for line in [
        format!("first event of process {}", stays.tgid()),
        format!("process {} executed another program", execs.tgid()),
        format!("process {} exited", exits.tgid()),
    ] {
        assert_eq!(
            lines.iter().filter(|logged| **logged == line).count(),
            1,
            "{lines:?}"
        );
    }
    assert_eq!(tracer.log_lines(), Vec::<String>::new());
}

#[test]
#[ignore = "needs root"]
fn a_tracer_that_is_dropped_or_killed_leaves_nothing_behind() {
    let process = Process::start(Role::Target);
    let probes = [
        "request_start",
        "request_end",
        "channel_data",
        "connection_close",
    ];
    let bytes = || probes.map(|probe| process.byte_at(probe));

    let tracer = attach_to(&[&process], Options::default());
    assert_eq!(bytes(), [0xcc; 4]);
    drop(tracer);
    assert_eq!(bytes(), [0x90; 4]);

    let mut tracer = Process::start(Role::Tracer);
    tracer.command(&format!("attach {}", process.tgid()));
    assert_eq!(bytes(), [0xcc; 4]);
    tracer.kill();
    wait_until("the probes are gone", || bytes() == [0x90; 4]);
}

#[test]
#[ignore = "needs root"]
fn what_cannot_be_attached_is_reported() {
    let mut process = Process::start(Role::Target);
    let mut gone = process.target();

    let mut changed = process.target();
    changed.files[0].sites[0].file_offset += 1;
    let error = Tracer::attach(&[changed], Options::default()).unwrap_err();
    assert!(matches!(error, AttachError::Changed { .. }), "{error:?}");

    let mut without = process.target();
    without.files[0].sites.clear();
    let error = Tracer::attach(&[without], Options::default()).unwrap_err();
    assert!(matches!(error, AttachError::NoSites), "{error:?}");

    gone.files[0].path = std::env::current_exe().unwrap();
    process.exit();
    let error = Tracer::attach(&[gone], Options::default()).unwrap_err();
    assert!(
        matches!(error, AttachError::NoProcess { tgid } if tgid == process.tgid()),
        "{error:?}"
    );
}

/// Pids are those of the tracer's own namespace there, and the clean-up finds its processes.
#[test]
#[ignore = "needs root"]
fn works_inside_a_pid_namespace() -> io::Result<()> {
    for test in [
        "every_event_arrives_with_its_arguments",
        "exec_and_exit_leave_no_rows",
    ] {
        let output = Command::new("unshare")
            .args(["--pid", "--fork", "--mount-proc"])
            .arg(std::env::current_exe()?)
            .args(["--exact", test, "--ignored"])
            .output()?;
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && printed.contains("1 passed"),
            "{printed}"
        );
    }
    Ok(())
}
