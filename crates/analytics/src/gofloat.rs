//! Floats as Go prints them, always the fewest digits that read back as the same number, and as it converts them.

use std::io::Write;

/// 2^63, the first number beyond the signed ones.
pub(crate) const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// A float as a whole number, the way the reference's amd64 build converts it: the smallest number for whatever does not
/// fit.
pub fn to_int(value: f64) -> i64 {
    match (-TWO_TO_63..TWO_TO_63).contains(&value) {
        true => value as i64,
        false => i64::MIN,
    }
}

/// The form of JSON numbers: an exponent only below 1e-6 and from 1e21 on. `false`, and nothing written, when `value`
/// is not finite.
pub(crate) fn write_json(out: &mut Vec<u8>, value: f64) -> bool {
    if !value.is_finite() {
        return false;
    }
    if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if (1e-6..1e21).contains(&value.abs()) {
        write_plain(out, value);
    } else {
        write_exponent(out, value, 1);
    }
    true
}

/// The form of `%v`: an exponent, of at least two digits, only below 1e-4 and from 1e6 on.
pub fn write_value(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if (1e-4..1e6).contains(&value.abs()) {
        write_plain(out, value);
    } else {
        write_exponent(out, value, 2);
    }
}

fn write_plain(out: &mut Vec<u8>, value: f64) {
    let start = out.len();
    // Writing to a vector cannot fail.
    let _ = write!(out, "{value}");
    let written = out.get(start..).unwrap_or_default();
    let fraction = written.iter().rev().position(|&byte| byte == b'.');
    if let Some(decimals) = fraction.filter(|_| written.len() > TIES)
        && let Some(even) = nearest(value, format!("{value:.decimals$}"))
    {
        out.truncate(start);
        out.extend_from_slice(even.as_bytes());
    }
}

/// Digits below which no number lies halfway between two texts that both read back as it.
const TIES: usize = 15;

/// The rounded text of a number with as many digits as its shortest one has. Halfway between two texts Go takes the even
/// one, as rounding does, and the shortest form of the standard library does not.
fn nearest(value: f64, rounded: String) -> Option<String> {
    (rounded.parse() == Ok(value)).then_some(rounded)
}

/// `1e-7` as `1e-07` when `digits` is 2; a sign always precedes the exponent.
fn write_exponent(out: &mut Vec<u8>, value: f64, digits: usize) {
    let mut text = format!("{value:e}");
    let decimals = text.split('e').next().and_then(|mantissa| mantissa.split_once('.'));
    if let Some(decimals) = decimals.map(|(_, decimals)| decimals.len())
        && decimals >= TIES
        && let Some(even) = nearest(value, format!("{value:.decimals$e}"))
    {
        text = even;
    }
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    let _ = write!(out, "{mantissa}e{sign}{exponent:0>digits$}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_numbers_have_the_form_of_go() {
        let json = |value| {
            let mut out = Vec::new();
            write_json(&mut out, value).then(|| String::from_utf8(out).unwrap())
        };
        #[rustfmt::skip]
        let rows = [
            (0.0, "0"), (-0.0, "-0"), (1.0, "1"), (51.5142, "51.5142"), (-0.0931, "-0.0931"), (1e-6, "0.000001"),
            (1e-7, "1e-7"), (-1.5e-10, "-1.5e-10"), (1e20, "100000000000000000000"), (1e21, "1e+21"), (1e100, "1e+100"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"), (5e-324, "5e-324"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
            // Halfway between two texts of the same length.
            (7_205_759_403_794_397.0 / 4.0, "1801439850948599.2"), (2_400_000_000_000_001.0 / 4.0, "600000000000000.2"),
            (2_400_000_000_000_003.0 / 4.0, "600000000000000.8"), (2_251_799_813_685_248.5, "2251799813685248.5"),
        ];
        for (value, expected) in rows {
            assert_eq!(json(value).as_deref(), Some(expected));
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(json(value), None);
        }
    }

    #[test]
    fn values_have_the_form_of_percent_v() {
        let text = |value| {
            let mut out = Vec::new();
            write_value(&mut out, value);
            String::from_utf8(out).unwrap()
        };
        #[rustfmt::skip]
        let rows = [
            (0.0, "0"), (-0.0, "-0"), (51.5142, "51.5142"), (100_000.0, "100000"), (1e6, "1e+06"), (999_999.9, "999999.9"),
            (1_234_567.0, "1.234567e+06"), (0.0001, "0.0001"), (0.00001, "1e-05"), (-1e100, "-1e+100"),
            (f64::NAN, "NaN"), (f64::INFINITY, "+Inf"), (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, expected) in rows {
            assert_eq!(text(value), expected);
        }
    }
}
