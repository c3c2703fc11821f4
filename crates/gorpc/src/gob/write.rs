//! Writing values.

use super::{Basic, ids};

/// Appends an unsigned number.
pub fn write_unsigned(out: &mut Vec<u8>, number: u64) {
    if number < 128 {
        out.push(number as u8);
        return;
    }
    let width = 8 - number.leading_zeros() as usize / 8;
    out.push((width as u8).wrapping_neg());
    out.extend(number.to_be_bytes().iter().skip(8 - width));
}

/// Appends a signed number.
pub fn write_signed(out: &mut Vec<u8>, number: i64) {
    write_unsigned(out, ((number << 1) ^ (number >> 63)) as u64);
}

/// Appends a text or bytes: length and content.
pub fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_unsigned(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Appends a message: its length and its bytes.
pub fn write_message(out: &mut Vec<u8>, message: &[u8]) {
    write_text(out, message);
}

/// Appends an interface that holds a value without parts.
pub fn write_basic(out: &mut Vec<u8>, basic: &Basic) {
    write_text(out, basic.type_name().as_bytes());
    let mut small = Vec::new();
    let (id, large): (i64, &[u8]) = match basic {
        Basic::Bool(value) => {
            small.push(u8::from(*value));
            (ids::BOOL, &[])
        }
        Basic::Int(value) => {
            write_signed(&mut small, *value);
            (ids::INT, &[])
        }
        Basic::Uint(value) => {
            write_unsigned(&mut small, *value);
            (ids::UINT, &[])
        }
        Basic::Float(value) => {
            write_unsigned(&mut small, value.to_bits().swap_bytes());
            (ids::FLOAT, &[])
        }
        Basic::Bytes(value) => {
            write_unsigned(&mut small, value.len() as u64);
            (ids::BYTES, value)
        }
        Basic::Text(value) => {
            write_unsigned(&mut small, value.len() as u64);
            (ids::TEXT, value)
        }
    };
    write_signed(out, id);
    write_unsigned(out, (1 + small.len() + large.len()) as u64);
    out.push(0);
    out.extend_from_slice(&small);
    out.extend_from_slice(large);
}

/// Appends the definition of a structure: its fields by name and type number.
pub fn write_struct_type(out: &mut Vec<u8>, id: i64, name: &str, fields: &[(&str, i64)]) {
    write_signed(out, -id);
    // Field 2 of a description (a structure), its field 0 (name and number), and there field 0.
    out.extend_from_slice(&[3, 1, 1]);
    write_text(out, name.as_bytes());
    out.push(1);
    write_signed(out, id);
    out.extend_from_slice(&[0, 1]);
    write_unsigned(out, fields.len() as u64);
    for (name, id) in fields {
        out.push(1);
        write_text(out, name.as_bytes());
        out.push(1);
        write_signed(out, *id);
        out.push(0);
    }
    out.extend_from_slice(&[0, 0]);
}
