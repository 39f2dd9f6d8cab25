//! Writes the committed corpus: `cargo run --example seeds`, in this directory. What fuzzing found is beside it and
//! stays.

use std::fs;
use std::io;
use std::path::Path;

use registry_image::row;
use roam_trace_common::event::{ChannelDirection, Direction, Outcome, Phase};
use roam_trace_common::registry::{
    ChannelRecord, ConnectionRecord, PhaseWord, RequestRecord, ResponseWord, Table,
};
use roam_trace_fuzz::region::{SHRINK, pack};
use roam_trace_fuzz::{elf, hub};
use zerocopy::IntoBytes;

/// Late enough for everything to be stuck.
const STARTED_NS: u64 = 1 << 39;

fn main() -> io::Result<()> {
    for (name, input) in registries() {
        write("registry", name, &input)?;
    }
    for (name, has_classes) in [("pools", false), ("classes", true)] {
        write("hub", name, &hub::pack(has_classes))?;
    }
    for (name, strings) in NOTES {
        write("elf_notes", name, &elf::with_note(strings))?;
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
    let slot = u64::from(slot);
    let sequence = if slot == 3 { 3 } else { 2 };
    match table {
        Table::Connections => connection(slot, sequence).as_bytes().to_vec(),
        Table::Requests => request(slot, sequence).as_bytes().to_vec(),
        Table::Arguments => b"(\"/guide\", \x1b[2J)".to_vec(),
        Table::Channels => channel(slot, sequence).as_bytes().to_vec(),
        Table::Methods => row::method(slot * 7, b"Tunnel.open").as_bytes().to_vec(),
        Table::Types => row::element_type("Vec<\u{202e}u8>".as_bytes())
            .as_bytes()
            .to_vec(),
        Table::Statistics => row::statistics(slot * 7).as_bytes().to_vec(),
    }
}

fn connection(slot: u64, sequence: u64) -> ConnectionRecord {
    let (name_bytes, name) = row::text(b"cell-http\n");
    ConnectionRecord {
        sequence,
        opened_ns: STARTED_NS,
        state_ns: STARTED_NS,
        messages_sent: 3,
        bytes_sent: 300,
        last_sent_ns: STARTED_NS,
        delivering_channel: 3,
        delivering_since_ns: STARTED_NS,
        enqueued: 5,
        dequeued: 3,
        polled_ns: STARTED_NS,
        writing_since_ns: STARTED_NS,
        name_bytes,
        name,
        ..row::connection(slot)
    }
}

fn request(slot: u64, sequence: u64) -> RequestRecord {
    let (direction, phase) = match slot {
        0 => (Direction::Outgoing, Phase::Sent),
        _ => (Direction::Incoming, Phase::Running),
    };
    RequestRecord {
        sequence,
        connection: row::serial(slot % 2),
        request_id: 93,
        method_id: 7,
        started_ns: STARTED_NS,
        phase: PhaseWord::new(1, 0, phase.code(), 1_000)
            .with_outcome(Outcome::Ok.code())
            .0,
        response: ResponseWord::new(1, 0, 5).0,
        direction: direction.code(),
        arguments_bytes: 12,
        // A handler that calls, and a call that a handler makes: each the parent of the other.
        parent: row::serial(1 - slot.min(1)),
        ..row::request(slot)
    }
}

fn channel(slot: u64, sequence: u64) -> ChannelRecord {
    ChannelRecord {
        sequence,
        connection: row::serial(slot % 2),
        channel_id: 3,
        opened_ns: STARTED_NS,
        direction: ChannelDirection::Rx.code(),
        items_received: 1_024,
        bytes_received: 4_096,
        items_read: 2,
        type_index: 1,
        ..row::channel(slot)
    }
}
