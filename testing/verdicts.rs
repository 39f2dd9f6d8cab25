//! Reads a dump in JSON.

use serde_json::Value;

/// Puts the verdict in the place of its index, in every row and node, and its code and text beside it in nodes.
pub(crate) fn with_verdicts(mut dump: Value) -> Value {
    let verdicts = dump["verdicts"].take();
    let resolve = |row: &mut Value| {
        if let Some(index) = row["verdict"].as_u64() {
            row["verdict"] = verdicts[index as usize].clone();
        }
    };
    for process in dump["processes"].as_array_mut().into_iter().flatten() {
        for table in ["requests", "channels", "connections"] {
            let rows = process[table].as_array_mut();
            rows.into_iter().flatten().for_each(resolve);
        }
    }
    let nodes = dump
        .pointer_mut("/graph/nodes")
        .and_then(Value::as_array_mut);
    for node in nodes.into_iter().flatten() {
        resolve(node);
        if !node["verdict"].is_null() {
            node["code"] = node["verdict"]["code"].clone();
            if node["text"].is_null() {
                node["text"] = node["verdict"]["text"].clone();
            }
        }
    }
    dump
}
