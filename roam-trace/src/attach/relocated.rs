//! The object with the maps' descriptors filled in, from which programs are loaded that aya 0.14 cannot load.

use std::collections::{BTreeSet, HashSet};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use aya::Ebpf;
use aya::maps::Map;
use aya_obj::generated::{
    BPF_CALL, BPF_DW, BPF_IMM, BPF_JMP, BPF_LD, BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC, bpf_insn,
};
use aya_obj::{Function, Object};

use super::error::LoadError;
use super::function_types;
use crate::bpf::{Kind, Program};

/// Bytes for what the verifier says of a program that it refuses.
const VERIFIER_LOG_BYTES: usize = 1 << 20;

/// The object whose maps aya has made.
pub(super) struct Relocated(Object);

impl Relocated {
    /// Fills the maps' descriptors and the addresses of called functions in.
    pub(super) fn new(object: &[u8], bpf: &Ebpf) -> Result<Self, LoadError> {
        let failed = |problem: &dyn ToString| LoadError::Object(problem.to_string());
        let mut object = Object::parse(object).map_err(|error| failed(&error))?;
        let sections: HashSet<usize> = object
            .functions
            .keys()
            .map(|(section, _)| *section)
            .collect();
        let maps = std::mem::take(&mut object.maps)
            .into_iter()
            .map(|(name, map)| {
                let fd = bpf
                    .map(&name)
                    .and_then(map_fd)
                    .ok_or_else(|| LoadError::Object(format!("no map {name}")))?;
                Ok((name, fd, map))
            })
            .collect::<Result<Vec<_>, LoadError>>()?;
        object
            .relocate_maps(
                maps.iter().map(|(name, fd, map)| (name.as_str(), *fd, map)),
                &sections,
            )
            .map_err(|error| failed(&error))?;
        object
            .relocate_calls(&sections)
            .map_err(|error| failed(&error))?;
        Ok(Self(object))
    }

    /// Loads a program.
    pub(super) fn load(&self, name: &str, kind: Kind) -> Result<OwnedFd, LoadError> {
        let missing = || LoadError::Object(format!("no program {name}"));
        let program = self.0.programs.get(name).ok_or_else(missing)?;
        let function: &Function = self
            .0
            .functions
            .get(&program.function_key())
            .ok_or_else(missing)?;
        let instructions = &function.instructions;
        let starts = passes_functions(instructions).then(|| function_starts(instructions));
        let types = starts
            .map(|starts| function_types::load(&starts))
            .transpose()
            .map_err(|error| LoadError::Object(format!("the types of {name}: {error}")))?;
        let program = Program {
            name,
            kind,
            instructions,
            license: &program.license,
            functions: types
                .as_ref()
                .map(|(fd, infos)| (fd.as_fd(), infos.as_slice())),
        };
        // A log costs the verifier time, so it is asked for only once there is something to read.
        program.load(&mut []).or_else(|source| {
            let mut log = vec![0; VERIFIER_LOG_BYTES];
            program.load(&mut log).map_err(|_| {
                let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
                LoadError::refused(name, &String::from_utf8_lossy(text), source)
            })
        })
    }
}

/// The descriptor of a map of one of the kinds that the object has.
fn map_fd(map: &Map) -> Option<RawFd> {
    match map {
        Map::Array(map)
        | Map::HashMap(map)
        | Map::PerCpuArray(map)
        | Map::PerCpuHashMap(map)
        | Map::RingBuf(map) => Some(map.fd().as_fd().as_raw_fd()),
        _ => None,
    }
}

/// Whether an instruction loads the address of a function.
fn is_function(instruction: &bpf_insn) -> bool {
    u32::from(instruction.code) == BPF_LD | BPF_IMM | BPF_DW
        && u32::from(instruction.src_reg()) == BPF_PSEUDO_FUNC
}

fn passes_functions(instructions: &[bpf_insn]) -> bool {
    instructions.iter().any(is_function)
}

/// Where the functions of a program begin: itself, and those that it calls or passes.
fn function_starts(instructions: &[bpf_insn]) -> BTreeSet<u32> {
    let is_call = |instruction: &bpf_insn| {
        u32::from(instruction.code) == BPF_JMP | BPF_CALL
            && u32::from(instruction.src_reg()) == BPF_PSEUDO_CALL
    };
    let named = instructions
        .iter()
        .zip(0_i32..)
        .filter(|(instruction, _)| is_call(instruction) || is_function(instruction))
        .map(|(instruction, at)| at.wrapping_add(instruction.imm).wrapping_add(1) as u32);
    [0].into_iter().chain(named).collect()
}
