//! How full the tables of registries are.

use std::sync::Arc;

use roam_dump::model::{Gap, TableUse};

use crate::top::cell::Cell;
use crate::top::layout::Column;
use crate::top::readings::ProcessPair;
use crate::top::row::{Item, Level, Row, RowId};

/// Parts of 100 from which on a table counts as nearly full, and as full for any burst of calls.
const WARNING: f64 = 80.0;
const CRITICAL: f64 = 95.0;

pub(super) const COLUMNS: [Column; 8] = [
    Column::right("USE", 1),
    Column::left("STATUS", 4),
    Column::right("USED", 2),
    Column::right("CAPACITY", 3),
    Column::right("HIGHEST", 7),
    Column::right("LOST", 5),
    Column::left("PROCESS", 6),
    Column::left("TABLE", 0),
];

pub(super) fn add(process: ProcessPair<'_>, rows: &mut Vec<Row>) {
    let name = process.name();
    let snapshot = &process.now.snapshot;
    for (index, table) in snapshot.tables.iter().enumerate() {
        let percent = percent(table);
        let (level, status) = match percent {
            CRITICAL.. => (Level::Critical, "critical"),
            WARNING.. => (Level::Warning, "warning"),
            _ => (Level::Plain, "ok"),
        };
        // Each registry has a table of that name.
        let registry = snapshot.tables[..index]
            .iter()
            .filter(|earlier| earlier.table == table.table)
            .count();
        let label = match registry {
            0 => table.table.to_owned(),
            registry => format!("{} (registry {})", table.table, registry + 1),
        };
        let lost = snapshot.gaps.iter().find_map(|gap| match gap {
            Gap::TableFull { table: full, count } if *full == table.table => Some(*count),
            _ => None,
        });
        rows.push(Row {
            id: RowId {
                process: process.now.key,
                item: Item::Table(index),
            },
            level,
            cells: vec![
                Cell::Percent(percent),
                Cell::text(status),
                Cell::Count(table.used),
                Cell::Count(table.capacity.into()),
                Cell::Count(table.high_water.into()),
                // The registries of a process are counted together.
                Cell::Count(lost.filter(|_| registry == 0).unwrap_or(0)),
                Cell::Text(Arc::clone(&name)),
                Cell::text(label),
            ],
        });
    }
}

fn percent(table: &TableUse) -> f64 {
    table.used as f64 / f64::from(table.capacity.max(1)) * 100.0
}
