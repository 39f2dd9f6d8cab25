//! This test binary's own probes, as a tracer finds them.

use object::elf::FileHeader64;
use object::read::elf::{ElfFile64, FileHeader, SectionHeader};
use object::{Endianness, Object, ObjectSection, ObjectSegment};
use roam_diagnostic::probe;
use roam_diagnostic::registry::{
    Channel, ChannelDirection, ChannelOpen, ChannelSide, Connection, ConnectionOpen,
    ConnectionState, Direction, Outcome, Phase, Request, RequestKind, RequestStart, Role,
};
use roam_trace_common::event::{PROBES, PROVIDER};

/// One probe as its note describes it.
struct Site {
    address: u64,
    base: u64,
    semaphore: u64,
    provider: String,
    name: String,
    arguments: String,
}

/// The linker keeps a probe where something calls it: here, everything that reports.
fn own_binary() -> Vec<u8> {
    let opened = Connection::open(&ConnectionOpen {
        link: Connection::NONE,
        conn_id: 0,
        group: Connection::NONE,
        role: Role::Initiator,
        state: ConnectionState::Open,
        observes_writes: true,
        name: "probes",
    });
    let request = Request::start(&RequestStart {
        connection: opened,
        request_id: 1,
        method_id: 2,
        direction: Direction::Outgoing,
        phase: Phase::Queued,
        kind: RequestKind::Call,
        payload_bytes: 0,
        arguments: None,
        parent: Request::NONE,
    });
    let channel = Channel::open(&ChannelOpen {
        connection: opened,
        channel_id: 1,
        request,
        direction: ChannelDirection::Tx,
        side: ChannelSide::Client,
        type_index: 0,
        receive_budget_bytes: u64::MAX,
    });
    channel.sent(1);
    channel.close();
    request.advance(Phase::Sent);
    request.end(Outcome::Ok);
    opened.close();
    opened.release();
    std::fs::read("/proc/self/exe").unwrap()
}

fn sites(binary: &[u8]) -> Vec<Site> {
    let header = FileHeader64::<Endianness>::parse(binary).unwrap();
    let endian = header.endian().unwrap();
    let sections = header.sections(endian, binary).unwrap();
    let mut sites = Vec::new();
    for section in sections.iter() {
        let Some(mut notes) = section.notes(endian, binary).unwrap() else {
            continue;
        };
        while let Some(note) = notes.next().unwrap() {
            if note.name() != b"stapsdt" || note.n_type(endian) != 3 {
                continue;
            }
            let (words, text) = note.desc().split_at(24);
            let word = |index: usize| {
                u64::from_le_bytes(words[index * 8..index * 8 + 8].try_into().unwrap())
            };
            let mut text = text
                .split(|&byte| byte == 0)
                .map(|text| String::from_utf8(text.to_vec()).unwrap());
            sites.push(Site {
                address: word(0),
                base: word(1),
                semaphore: word(2),
                provider: text.next().unwrap(),
                name: text.next().unwrap(),
                arguments: text.next().unwrap(),
            });
        }
    }
    sites
}

fn bytes_at(binary: &[u8], address: u64, length: u64) -> Vec<u8> {
    let file = ElfFile64::<Endianness>::parse(binary).unwrap();
    file.segments()
        .find_map(|segment| segment.data_range(address, length).unwrap())
        .unwrap()
        .to_vec()
}

#[test]
fn every_event_has_one_site_with_its_arguments_in_registers() {
    let binary = own_binary();
    let sites = sites(&binary);
    let expected = [7, 4, 3, 6, 4, 1, 4, 1];
    let registers = if cfg!(target_arch = "x86_64") {
        ["%rdi", "%rsi", "%rdx", "%rcx", "%r8", "%r9", "%rax"]
    } else {
        ["x0", "x1", "x2", "x3", "x4", "x5", "x6"]
    };
    for (name, arguments) in PROBES.into_iter().zip(expected) {
        let matching: Vec<_> = sites.iter().filter(|site| site.name == name).collect();
        assert_eq!(matching.len(), 1, "sites of {name}");
        let site = matching[0];
        assert_eq!(site.provider, PROVIDER);
        assert_eq!(site.semaphore, 0);
        let wanted: Vec<_> = registers[..arguments]
            .iter()
            .map(|register| format!("8@{register}"))
            .collect();
        assert_eq!(
            site.arguments.split_whitespace().collect::<Vec<_>>(),
            wanted,
            "arguments of {name}"
        );
    }
}

#[test]
fn the_base_of_every_note_is_the_base_section() {
    let binary = own_binary();
    let file = ElfFile64::<Endianness>::parse(&*binary).unwrap();
    let section = file.section_by_name(".stapsdt.base").unwrap().address();
    for site in sites(&binary) {
        assert_ne!(site.base, 0, "{}", site.name);
        assert_eq!(site.base, section, "{}", site.name);
    }
}

#[test]
fn every_site_is_nops_that_may_be_attached_to() {
    const NOP_OF_AARCH64: [u8; 4] = [0x1f, 0x20, 0x03, 0xd5];
    let expected = match cfg!(target_arch = "x86_64") {
        true => &probe::SITE_X86_64[..],
        false => &NOP_OF_AARCH64,
    };
    let binary = own_binary();
    for site in sites(&binary) {
        let found = bytes_at(&binary, site.address, expected.len() as u64);
        assert_eq!(found, expected, "{}", site.name);
    }
}
