//! Reads a dump in JSON.

use std::collections::HashMap;

use serde_json::{Value, json};

/// Puts what is said once in the place of every reference to it: verdicts, and in nodes what their rows have.
pub(crate) fn with_verdicts(mut dump: Value) -> Value {
    let verdicts = dump["verdicts"].take();
    let resolve = |row: &mut Value| {
        if let Some(index) = row["verdict"].as_u64() {
            row["verdict"] = verdicts[index as usize].clone();
        }
    };
    let mut processes = HashMap::new();
    let mut rows = HashMap::new();
    for process in dump["processes"].as_array_mut().into_iter().flatten() {
        let pid = process["process"]["pid"].to_string();
        for table in ["requests", "channels", "connections"] {
            for row in process[table].as_array_mut().into_iter().flatten() {
                resolve(row);
                set(row, "source", json!("registry"));
            }
        }
        for row in process["requests"].as_array_mut().into_iter().flatten() {
            set(row, "kind", json!("call"));
            rows.insert((pid.clone(), row["serial"].to_string()), row.clone());
        }
        processes.insert(pid, process["process"].clone());
    }
    let nodes = dump
        .pointer_mut("/graph/nodes")
        .and_then(Value::as_array_mut);
    for node in nodes.into_iter().flatten() {
        resolve(node);
        let pid = node["pid"].to_string();
        if let Some(process) = processes.get(&pid) {
            set(node, "process", process.clone());
        }
        if let Some(row) = rows.get(&(pid, node["serial"].to_string())) {
            for field in ["age_us", "phase", "mark", "verdict"] {
                set(node, field, row[field].clone());
            }
        }
        if !node["verdict"].is_null() {
            node["code"] = node["verdict"]["code"].clone();
            let text = node["verdict"]["text"].clone();
            set(node, "text", text);
        }
    }
    dump
}

/// Sets a field that is not there.
fn set(of: &mut Value, field: &str, value: Value) {
    if of[field].is_null() {
        of[field] = value;
    }
}
