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
    let (digits, exponent) = shortest(value.abs());
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

/// The fewest digits that name this finite double, and the power of ten of the first one. Of two that are equally short and
/// equally close the even one, as Go writes it; Rust has the upper one.
fn shortest(value: f64) -> (Vec<u8>, i32) {
    let (mut digits, exponent) = scientific(&format!("{value:e}"));
    // Decimals of up to 15 digits all name different doubles.
    if digits.len() > 15 && digits.last().is_some_and(|last| last % 2 == 1) {
        let mut lower = digits.clone();
        if let Some(last) = lower.last_mut() {
            *last -= 1;
        }
        if is_halfway(value, &lower) && names(value, &lower, exponent) {
            digits = lower;
        }
    }
    (digits, exponent)
}

/// Whether `value` lies exactly between `lower` and the next decimal of that length.
fn is_halfway(value: f64, lower: &[u8]) -> bool {
    let (longer, _) = scientific(&format!("{value:.*e}", lower.len()));
    if !matches!(longer.split_last(), Some((5, rest)) if rest == lower) {
        return false;
    }
    // No double has more digits than this.
    let (all, _) = scientific(&format!("{value:.767e}"));
    all.iter().skip(lower.len() + 1).all(|&digit| digit == 0)
}

fn names(value: f64, digits: &[u8], exponent: i32) -> bool {
    let text: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
    let exponent = exponent + 1 - digits.len() as i32;
    format!("{text}e{exponent}").parse() == Ok(value)
}

/// `1.234e-5`: digits, and the power of ten of the first one.
fn scientific(text: &str) -> (Vec<u8>, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0');
    (digits.collect(), exponent.parse().unwrap_or(0))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(value: f64) -> String {
        let (digits, exponent) = shortest(value);
        let digits: String = digits.iter().map(u8::to_string).collect();
        format!("{digits}e{exponent}")
    }

    #[test]
    #[allow(clippy::excessive_precision)] // Written out to show that they lie in the middle.
    fn of_two_shortest_decimals_the_even_one_is_written() {
        for (value, text) in [
            (9.4, "94e0"),
            (8.166_666_666_666_666, "8166666666666666e0"),
            // A quarter and three quarters lie between two decimals of one digit.
            (600_479_950_316_483.0 + 0.25, "6004799503164832e14"),
            (600_479_950_316_483.0 + 0.75, "6004799503164838e14"),
            (1_400_148_161_827_093.0 + 0.25, "14001481618270932e15"),
            // Nearer to one than to the other.
            (600_479_950_316_483.0 + 0.125, "6004799503164831e14"),
            (5e-324, "5e-324"),
            (f64::MAX, "17976931348623157e308"),
        ] {
            assert_eq!(digits(value), text);
        }
    }

    #[test]
    fn shortest_digits_name_their_double() {
        let mut bits = 1_u64;
        for _ in 0..20_000 {
            bits = bits
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // From 2^45 to 2^85: where ties are.
            let value = f64::from_bits(((1023 + 45 + ((bits >> 8) % 40)) << 52) | (bits >> 12));
            let (digits, exponent) = shortest(value);
            assert!(names(value, &digits, exponent), "{value:e}");
        }
    }
}
