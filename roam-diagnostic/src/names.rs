//! Names of methods and element types. Rare, so a lock guards which are known;
//! readers read the tables and never take the lock.

use std::collections::HashMap;
use std::mem::offset_of;
use std::sync::{Mutex, PoisonError, RwLock};

use roam_trace_common::limits::{METHOD_NAME_BYTES, TYPE_NAME_BYTES};
use roam_trace_common::registry::{MethodRecord, Table, TypeRecord};

use crate::region::Region;
use crate::sync::{AtomicUsize, Ordering, pair};

/// Which names are in which slot.
#[derive(Default)]
pub(crate) struct Names {
    methods: Mutex<Methods>,
    types: RwLock<HashMap<usize, u32>>,
    methods_dumped: AtomicUsize,
    types_dumped: AtomicUsize,
}

/// The names of methods, and how many slots they take.
#[derive(Default)]
struct Methods {
    names: HashMap<u64, Box<str>>,
    slots: u32,
}

impl Names {
    /// A method that gets another name takes another slot: readers go by the last one.
    pub(crate) fn register_method(&self, region: &Region, method_id: u64, name: &str) {
        let mut methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        if methods
            .names
            .get(&method_id)
            .is_some_and(|known| **known == *name)
        {
            return;
        }
        let index = methods.slots;
        let Some(slot) = region.slots::<MethodRecord>(Table::Methods).get(index) else {
            region.count_lost(Table::Methods);
            return;
        };
        methods.names.insert(method_id, name.into());
        methods.slots += 1;
        region.publish_high_water(Table::Methods, index + 1, &self.methods_dumped);
        slot.u64(offset_of!(MethodRecord, method_id))
            .store(method_id, Ordering::Relaxed);
        let bytes = slot.store_text(offset_of!(MethodRecord, name), METHOD_NAME_BYTES, name);
        slot.u64(offset_of!(MethodRecord, name_bytes))
            .store(pair(bytes, 0), Ordering::Relaxed);
        slot.u64(offset_of!(MethodRecord, sequence))
            .store(2, Ordering::Release);
    }

    /// The index of a type that was added, which is its slot plus one.
    pub(crate) fn type_index(&self, key: usize) -> Option<u32> {
        let types = self.types.read().unwrap_or_else(PoisonError::into_inner);
        types.get(&key).copied()
    }

    /// Adds a type and returns its index, 0 if the table is full.
    pub(crate) fn add_type(&self, region: &Region, key: usize, name: &str) -> u32 {
        let mut types = self.types.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(&index) = types.get(&key) {
            return index;
        }
        let slot_index = types.len() as u32;
        let Some(slot) = region.slots::<TypeRecord>(Table::Types).get(slot_index) else {
            region.count_lost(Table::Types);
            return 0;
        };
        types.insert(key, slot_index + 1);
        region.publish_high_water(Table::Types, slot_index + 1, &self.types_dumped);
        let bytes = slot.store_text(offset_of!(TypeRecord, name), TYPE_NAME_BYTES, name);
        slot.u64(offset_of!(TypeRecord, name_bytes))
            .store(pair(bytes, 0), Ordering::Relaxed);
        slot.u64(offset_of!(TypeRecord, sequence))
            .store(2, Ordering::Release);
        slot_index + 1
    }
}
