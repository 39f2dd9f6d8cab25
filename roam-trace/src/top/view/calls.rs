//! The requests in flight.

use std::sync::Arc;

use roam_dump::render::phase;

use crate::top::cell::Cell;
use crate::top::layout::Column;
use crate::top::readings::ProcessPair;
use crate::top::row::{Item, Level, Row, RowId};

pub(super) const COLUMNS: [Column; 7] = [
    Column::right("AGE", 1),
    Column::left("VERDICT", 2),
    Column::left("PHASE", 3),
    Column::left("CONNECTION", 5),
    Column::right("REQUEST", 6),
    Column::left("PROCESS", 4),
    Column::left("METHOD", 0),
];

pub(super) fn add(process: ProcessPair<'_>, rows: &mut Vec<Row>) {
    let name = process.name();
    for request in &process.now.snapshot.requests {
        let verdict_of = request.verdict.as_deref();
        rows.push(Row {
            id: RowId {
                process: process.now.key,
                item: Item::Request(request.serial),
            },
            level: Level::of(verdict_of),
            cells: vec![
                Cell::Age(request.age_us),
                Cell::verdict(verdict_of),
                Cell::text(phase(request)),
                Cell::some(request.connection_name.clone(), Cell::Text),
                Cell::Count(request.request_id),
                Cell::Text(Arc::clone(&name)),
                Cell::method(request.direction, &request.method_name()),
            ],
        });
    }
}
