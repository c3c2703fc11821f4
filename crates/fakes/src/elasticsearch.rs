//! What a node of Elasticsearch answers: it keeps documents by id and refuses those with the response code 666. For faults;
//! tests of what a server does with documents run against real ones.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};

use crate::http::{Received, Reply};

/// What a node holds.
pub type Documents = Arc<Mutex<Held>>;

/// Documents in the order of their arrival, and where each is by index and id.
#[derive(Default)]
pub struct Held {
    /// Index, id, document.
    pub documents: Vec<(String, String, Value)>,
    places: HashMap<(String, String), usize>,
}

/// What a node of Elasticsearch 7.17 answers.
pub fn answer(request: &Received, documents: &Documents) -> Reply {
    if request.path == "/" {
        return Reply::new(200, json!({"version": {"number": "7.17.0"}}).to_string());
    }
    if request.header("content-type").is_empty() {
        return Reply::new(
            406,
            r#"{"error":"Content-Type header [] is not supported","status":406}"#,
        );
    }
    if let [index, "_doc", id] = request.path.trim_start_matches('/').split('/').collect::<Vec<_>>()[..] {
        let (id, query) = id.split_once('?').unwrap_or((id, ""));
        let operation = if query == "op_type=create" { "create" } else { "index" };
        let document = serde_json::from_slice(&request.body).unwrap_or_default();
        let item = &store(&json!({operation: {"_index": index, "_id": id}}), &document, documents)[operation];
        let status = item["status"].as_u64().and_then(|status| status.try_into().ok());
        return Reply::new(status.unwrap_or(500), item.to_string());
    }
    if request.path != "/_bulk" {
        let error = format!(
            "no handler found for uri [{}] and method [{}]",
            request.path, request.method
        );
        return Reply::new(400, json!({"error": error}).to_string());
    }
    let lines: Vec<Value> = request
        .body
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap_or_default())
        .collect();
    let items: Vec<Value> = lines
        .chunks(2)
        .filter_map(|pair| match pair {
            [action, document] => Some(store(action, document, documents)),
            _ => None,
        })
        .collect();
    let errors = items.iter().any(|item| item.to_string().contains("\"error\""));
    Reply::new(200, json!({"took": 1, "errors": errors, "items": items}).to_string())
}

fn store(action: &Value, document: &Value, documents: &Documents) -> Value {
    let operation = if action.get("create").is_some() {
        "create"
    } else {
        "index"
    };
    let text = |key: &str| action[operation][key].as_str().unwrap_or_default().to_owned();
    let (index, id) = (text("_index"), text("_id"));
    let refuse = |status: u16, kind: &str| {
        let error =
            json!({"type": kind, "reason": "said the server", "caused_by": {"type": "cause", "reason": "below"}});
        json!({operation: {"_index": index, "_id": id, "status": status, "error": error}})
    };
    if document["response_code"] == 666 {
        return refuse(400, "mapper_parsing_exception");
    }
    let mut held = documents.lock().unwrap_or_else(PoisonError::into_inner);
    let Held { documents, places } = &mut *held;
    let id = match id.is_empty() {
        true => format!("made-up-{}", documents.len()),
        false => id.clone(),
    };
    let place = places.get(&(index.clone(), id.clone())).copied();
    match place.and_then(|place| documents.get_mut(place)) {
        Some(_) if operation == "create" => return refuse(409, "version_conflict_engine_exception"),
        Some(known) => known.2 = document.clone(),
        None => {
            places.insert((index.clone(), id.clone()), documents.len());
            documents.push((index.clone(), id.clone(), document.clone()));
        }
    }
    json!({operation: {"_index": index, "_id": id, "status": 201}})
}
