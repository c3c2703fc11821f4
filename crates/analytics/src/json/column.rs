//! Lists and maps as text columns of SQL tables: what is absent is empty, never `null`.

use super::{JsonError, write_list, write_map, write_path_value, write_string, write_strings};
use crate::{RecordView, field::Store, field::graph_error, view::ErrorView, view::Texts};

/// Appends a list or map of the record; any other field appends nothing. On failure `out` is as it was.
pub fn write_column(out: &mut Vec<u8>, view: &RecordView<'_>, store: Store) -> Result<(), JsonError> {
    let start = out.len();
    let written = match store {
        Store::Tags => write_texts(out, view.tags()),
        Store::RootFields => write_texts(out, view.root_fields()),
        Store::CityNames => match view.city_names() {
            None => write_empty(out, b"{}"),
            names => write_map(out, names, |out, name| {
                write_string(out, name);
                Ok(())
            }),
        },
        Store::Types => match view.types() {
            None => write_empty(out, b"{}"),
            types => write_map(out, types, write_texts),
        },
        Store::Errors => match view.errors() {
            None => write_empty(out, b"[]"),
            errors => write_list(out, errors, write_error),
        },
        _ => Ok(()),
    };
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn write_empty(out: &mut Vec<u8>, empty: &[u8]) -> Result<(), JsonError> {
    out.extend_from_slice(empty);
    Ok(())
}

fn write_texts(out: &mut Vec<u8>, texts: Option<Texts<'_>>) -> Result<(), JsonError> {
    match texts {
        None => write_empty(out, b"[]"),
        texts => {
            write_strings(out, texts);
            Ok(())
        }
    }
}

fn write_error(out: &mut Vec<u8>, error: ErrorView<'_>) -> Result<(), JsonError> {
    out.push(b'{');
    write_string(out, graph_error::JSON_MESSAGE.as_bytes());
    out.push(b':');
    write_string(out, error.message);
    out.push(b',');
    write_string(out, graph_error::JSON_PATH.as_bytes());
    out.push(b':');
    match error.path {
        None => write_empty(out, b"[]")?,
        path => write_list(out, path, write_path_value)?,
    }
    out.push(b'}');
    Ok(())
}
