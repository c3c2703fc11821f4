//! Floats as `numeric` in binary: the digits of the shortest decimal form.

use bytes::{BufMut, BytesMut};

const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;
const MINUS: u16 = 0x4000;

/// Appends length and value. Infinity needs Postgres 14.
pub(super) fn write(out: &mut BytesMut, value: f64) {
    if value == 0.0 {
        return put(out, &[], 0, 0, 0);
    }
    if !value.is_finite() {
        let sign = match value {
            value if value.is_nan() => NAN,
            value if value > 0.0 => INFINITY,
            _ => MINUS_INFINITY,
        };
        return put(out, &[], 0, sign, 0);
    }
    // `1.234e-5`: digits, and the power of ten of the first one.
    let text = format!("{:e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: Vec<u8> = mantissa
        .bytes()
        .filter(u8::is_ascii_digit)
        .map(|digit| digit - b'0')
        .collect();
    // Groups of four digits, the first one ending at a power of ten that four divides.
    let weight = exponent.div_euclid(4);
    let lead = exponent.rem_euclid(4) as usize + 1;
    let mut groups: Vec<i16> = Vec::with_capacity(digits.len() / 4 + 2);
    let (mut at, mut width) = (0, lead);
    while at < digits.len() {
        let group = (at..at + width).fold(0, |group, at| {
            group * 10 + i16::from(digits.get(at).copied().unwrap_or(0))
        });
        groups.push(group);
        at += width;
        width = 4;
    }
    let scale = (digits.len() as i32 - 1 - exponent).max(0);
    put(
        out,
        &groups,
        weight as i16,
        if value < 0.0 { MINUS } else { 0 },
        scale as u16,
    );
}

fn put(out: &mut BytesMut, groups: &[i16], weight: i16, sign: u16, scale: u16) {
    out.put_i32(8 + 2 * groups.len() as i32);
    out.put_i16(groups.len() as i16);
    out.put_i16(weight);
    out.put_u16(sign);
    out.put_u16(scale);
    for &group in groups {
        out.put_i16(group);
    }
}
