//! Names that a registry holds, printable.

use std::sync::Arc;

use foldhash::HashMap;
use roam_trace_common::limits::{CONNECTION_NAME_BYTES, METHOD_NAME_BYTES, TYPE_NAME_BYTES};

use super::printable::printable_within;
use crate::read::Image;

/// Names that a registry holds, printable.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// By method id.
    pub methods: HashMap<u64, Arc<str>>,
    /// By slot.
    pub types: Vec<Arc<str>>,
    /// Connection names by serial.
    pub connections: HashMap<u64, Arc<str>>,
}

impl Names {
    /// Collects the names of a registry.
    pub fn of(image: &Image) -> Self {
        Self {
            methods: image
                .methods
                .iter()
                .map(|(&id, name)| (id, printable_within(name, METHOD_NAME_BYTES).into()))
                .collect(),
            types: image
                .types
                .iter()
                .map(|name| printable_within(name, TYPE_NAME_BYTES).into())
                .collect(),
            connections: image
                .connections
                .values()
                .map(|row| {
                    let bytes = (row.name_bytes as usize).min(row.name.len());
                    let name = printable_within(&row.name[..bytes], CONNECTION_NAME_BYTES);
                    (row.serial, name.into())
                })
                .collect(),
        }
    }

    /// Collects the names of all registries of a process. For equal ids, the first registry wins.
    pub fn of_all(images: &[Image]) -> Self {
        let mut names = Self::default();
        for image in images.iter().rev() {
            let of_image = Self::of(image);
            names.methods.extend(of_image.methods);
            names.connections.extend(of_image.connections);
            names.types = of_image.types;
        }
        names
    }

    /// Returns the name of the element type with a channel's type index.
    pub fn element_type(&self, type_index: u32) -> Option<Arc<str>> {
        let slot = type_index.checked_sub(1)?;
        self.types.get(slot as usize).cloned()
    }
}
