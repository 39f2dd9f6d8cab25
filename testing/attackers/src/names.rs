//! Attacks by names: of processes, connections and methods.

use anyhow::Result;
use registry_image::damage::malicious;
use registry_image::row;
use roam_trace_common::limits::CONNECTION_NAME_BYTES;
use roam_trace_common::registry::{ConnectionRecord, MethodRecord, RequestRecord, Table};

use crate::registries::{now_ns, running};
use crate::registry::Registry;
use crate::siege::{Siege, check};

/// What turns the direction of writing, has no width or two, joins what is before it, ends a label or a line, or is no
/// text. The kernel keeps 15 bytes.
const NAMES: [&[u8]; 8] = [
    b"\xe2\x80\xae\xe2\x81\xa6evil",
    b"a\xe2\x80\x8b\xe2\x80\x8d\xef\xbb\xbfb",
    b"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xf0\x9f\x92\xa9",
    b"e\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81",
    b"\"];URL=\"x\n",
    b"\xed\xa0\x80\xff\xc0\xaf",
    b"\x1b[2J\x1b]0;x\x07",
    b"</script>\\N\\G",
];

/// Processes with such names whose calls hang, so that every kind of output has to show them.
pub(crate) fn malicious_names(siege: &mut Siege, processes: u32) -> Result<()> {
    for process in 0..processes {
        siege.start(|| {
            let name = NAMES[process as usize % NAMES.len()];
            let mut terminated = name.to_vec();
            terminated.push(0);
            // SAFETY: a string that ends with 0.
            check(unsafe { libc::prctl(libc::PR_SET_NAME, terminated.as_ptr()) }.into())?;
            let started_ns = now_ns().saturating_sub(1_000_000_000).max(1);
            let registry = Registry::new([32; Table::ALL.len()])?;
            registry.fill(Table::Connections, |slot| ConnectionRecord {
                name_bytes: CONNECTION_NAME_BYTES as u32,
                name: malicious(slot),
                ..row::connection(slot)
            })?;
            registry.fill(Table::Requests, |slot| RequestRecord {
                connection: row::serial(slot),
                method_id: slot,
                ..running(slot, started_ns)
            })?;
            registry.fill(Table::Methods, |slot| match slot as usize {
                index if index < NAMES.len() => row::method(slot, NAMES[index]),
                _ => MethodRecord {
                    name: malicious(slot),
                    name_bytes: u32::MAX,
                    ..row::method(slot, b"")
                },
            })?;
            std::mem::forget(registry.publish()?);
            Ok(())
        })?;
    }
    Ok(())
}
