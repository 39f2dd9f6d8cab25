//! Writes the committed corpus: `cargo run --example seeds`, in this directory. What fuzzing found is beside it and
//! stays.

use std::fs;
use std::io;
use std::path::Path;

use roam_trace_common::Serial;
use roam_trace_common::event::{
    ChannelDirection, ChannelSide, ConnectionState, Direction, Outcome, Phase, RequestKind, Role,
};
use roam_trace_common::registry::{
    ChannelRecord, ConnectionRecord, MethodRecord, PhaseWord, RequestRecord, ResponseWord, Table,
    TypeRecord,
};
use roam_trace_fuzz::image;
use roam_trace_fuzz::region::{SHRINK, pack};
use zerocopy::{FromZeros, IntoBytes};

/// Late enough for everything to be stuck.
const STARTED_NS: u64 = 1 << 39;

fn main() -> io::Result<()> {
    for (name, input) in registries() {
        write("registry", name, &input)?;
    }
    for (name, strings) in NOTES {
        write("elf_notes", name, &image::with_note(strings))?;
    }
    for (name, arguments) in ARGUMENTS {
        write("usdt_arguments", name, arguments)?;
    }
    for (name, file) in PROC_FILES {
        write("proc_files", name, file)?;
    }
    Ok(())
}

fn write(target: &str, name: &str, input: &[u8]) -> io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join(name), input)
}

const NOTES: [(&str, &[u8]); 4] = [
    ("right", b"roam\0request_end\08@%rdi 8@%rsi 8@%rdx\0"),
    ("other-provider", b"libc\0setjmp\08@%rdi\0"),
    ("string-missing", b"roam\0request_end\0"),
    ("escape", b"roam\0request\x1b[2J\0\0"),
];

const ARGUMENTS: [(&str, &[u8]); 7] = [
    ("registers", b"8@%rdi 8@%rsi 8@%rdx 8@%rcx 8@%r8 8@%r9\0"),
    (
        "memory",
        b"-4@-8(%rbp) 8@16(%rax,%rbx,4) 4@symbol+8(%rip)\0",
    ),
    ("constants", b"8@$5 -2@$-1\0"),
    ("aarch64", b"8@x0 8@[sp, 16] 4@[x1, x2, lsl 3]\0"),
    ("none", b"\0"),
    ("unended", b"8@%rdi"),
    ("escape", b"8@\x1b]0;title\x07\0"),
];

const PROC_FILES: [(&str, &[u8]); 5] = [
    (
        "maps",
        b"7f000000-7f100000 rw-s 00000000 00:01 2061                       /memfd:roam-diagnostic (deleted)\n\
          5600-5700 r-xp 00001000 fe:01 17 /home/a b/c\\012d \xff\n7f00-7f10 rw-p 00000000 00:00 0 \n",
    ),
    (
        "status",
        b"Name:\ta\\nTgid:\t9\nUmask:\t0022\nTgid:\t17\nPid:\t18\nNSpid:\t17\t4\t1\nSeccomp:\t2\n",
    ),
    (
        "timens_offsets",
        b"monotonic           10         5\nboottime            -2         500000000\n",
    ),
    ("link", b"socket:[17]"),
    ("name", b"a) R 1 (b) \n\xff"),
];

fn registries() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", pack(&[], |_, _| Vec::new())),
        ("hung", pack(&[], hung)),
        // Half written in the second pass over the requests, whole again in the third.
        ("torn", pack(&[(6, 640, 1), (7, 640, 2)], hung)),
        ("released", pack(&[(6, 640, 4), (6, 641, 0)], hung)),
        ("shrinking", pack(&[(5, SHRINK, 20)], hung)),
        (
            "extreme",
            pack(&[], |table, slot| {
                let mut row = hung(table, slot);
                let behind_serial = row.len().min(16);
                row[behind_serial..].fill(0xff);
                row
            }),
        ),
    ]
}

/// Two connections, a call that hangs on each, and a channel: one slot of a table is free, one half written.
fn hung(table: Table, slot: u32) -> Vec<u8> {
    if slot == 2 {
        return Vec::new();
    }
    let serial = Serial::new(slot, 1).0;
    let sequence = if slot == 3 { 3 } else { 2 };
    let connection = Serial::new(slot % 2, 1).0;
    match table {
        Table::Connections => connection_row(serial, sequence).as_bytes().to_vec(),
        Table::Requests => request_row(serial, sequence, connection)
            .as_bytes()
            .to_vec(),
        Table::Arguments => b"(\"/guide\", \x1b[2J)".to_vec(),
        Table::Channels => channel_row(serial, sequence, connection)
            .as_bytes()
            .to_vec(),
        Table::Methods => {
            let mut row = MethodRecord::new_zeroed();
            (row.sequence, row.method_id) = (2, u64::from(slot) * 7);
            row.name_bytes = put(&mut row.name, b"Tunnel.open");
            row.as_bytes().to_vec()
        }
        Table::Types => {
            let mut row = TypeRecord::new_zeroed();
            row.sequence = 2;
            row.name_bytes = put(&mut row.name, "Vec<\u{202e}u8>".as_bytes());
            row.as_bytes().to_vec()
        }
    }
}

fn connection_row(serial: u64, sequence: u64) -> ConnectionRecord {
    let mut row = ConnectionRecord::new_zeroed();
    (row.serial, row.sequence, row.link) = (serial, sequence, serial);
    (row.role, row.state) = (Role::Initiator.code(), ConnectionState::Open.code());
    (row.opened_ns, row.state_ns) = (STARTED_NS, STARTED_NS);
    (row.messages_sent, row.bytes_sent, row.last_sent_ns) = (3, 300, STARTED_NS);
    (row.delivering_channel, row.delivering_since_ns) = (3, STARTED_NS);
    (row.enqueued, row.dequeued, row.polled_ns) = (5, 3, STARTED_NS);
    row.writing_since_ns = STARTED_NS;
    row.name_bytes = put(&mut row.name, b"cell-http\n");
    row
}

fn request_row(serial: u64, sequence: u64, connection: u64) -> RequestRecord {
    let mut row = RequestRecord::new_zeroed();
    (row.serial, row.sequence, row.connection) = (serial, sequence, connection);
    (row.request_id, row.method_id, row.started_ns) = (93, 7, STARTED_NS);
    let (direction, phase) = match Serial(serial).slot() {
        0 => (Direction::Outgoing, Phase::Sent),
        _ => (Direction::Incoming, Phase::Running),
    };
    row.phase = PhaseWord::new(1, 0, phase.code(), 1_000).0;
    row.response = ResponseWord::new(1, Outcome::Ok.code(), 5).0;
    (row.direction, row.kind) = (direction.code(), RequestKind::Call.code());
    row.arguments_bytes = 12;
    // A handler that calls, and a call that a handler makes: each the parent of the other.
    row.parent = Serial::new(1 - Serial(serial).slot().min(1), 1).0;
    row
}

fn channel_row(serial: u64, sequence: u64, connection: u64) -> ChannelRecord {
    let mut row = ChannelRecord::new_zeroed();
    (row.serial, row.sequence, row.connection) = (serial, sequence, connection);
    (row.channel_id, row.request, row.opened_ns) = (3, Serial::new(0, 1).0, STARTED_NS);
    row.direction = ChannelDirection::Rx.code();
    row.side = ChannelSide::Client.code();
    (row.items_received, row.bytes_received, row.items_read) = (1_024, 4_096, 2);
    row.type_index = 1;
    row
}

fn put(field: &mut [u8], text: &[u8]) -> u32 {
    field[..text.len()].copy_from_slice(text);
    text.len() as u32
}
