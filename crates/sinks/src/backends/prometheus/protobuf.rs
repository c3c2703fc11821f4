//! The page as protobuf: messages `io.prometheus.client.MetricFamily`, each behind its length.

use super::exposition::{Family, Form, Value};

/// Its media type.
pub(super) const DELIMITED: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

const LENGTH_DELIMITED: u64 = 2;
const FIXED_64: u64 = 1;

/// The page of these metrics; those without a series are left out.
pub(super) fn delimited(families: &[Family]) -> Vec<u8> {
    let (mut out, mut message) = (Vec::new(), Vec::new());
    for family in families.iter().filter(|family| !family.is_empty()) {
        message.clear();
        write_family(&mut message, family);
        write_varint(&mut out, message.len() as u64);
        out.extend_from_slice(&message);
    }
    out
}

fn write_family(out: &mut Vec<u8>, family: &Family) {
    write_bytes(out, 1, family.name.as_bytes());
    write_bytes(out, 2, family.help.as_bytes());
    let (form, field) = match family.form {
        Form::Counter => (0, 3),
        Form::Gauge => (1, 2),
        Form::Histogram(_) => (4, 7),
    };
    write_number(out, 3, form);
    let (mut metric, mut inner, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
    family.each(|values, value| {
        metric.clear();
        for (label, value) in family.labels.iter().zip(values) {
            inner.clear();
            write_bytes(&mut inner, 1, label.as_bytes());
            write_bytes(&mut inner, 2, value.as_bytes());
            write_bytes(&mut metric, 1, &inner);
        }
        inner.clear();
        match (value, &family.form) {
            (Value::Histogram(counts, sum), Form::Histogram(bounds)) => {
                write_number(&mut inner, 1, counts.iter().sum());
                write_double(&mut inner, 2, sum);
                let mut total = 0;
                // The last bucket is the count itself.
                for (bound, count) in bounds.iter().zip(counts) {
                    total += count;
                    scratch.clear();
                    write_number(&mut scratch, 1, total);
                    write_double(&mut scratch, 2, *bound);
                    write_bytes(&mut inner, 3, &scratch);
                }
            }
            (Value::Number(number), _) => write_double(&mut inner, 1, number),
            (Value::Histogram(..), _) => {}
        }
        write_bytes(&mut metric, field, &inner);
        write_bytes(out, 4, &metric);
    });
}

fn write_number(out: &mut Vec<u8>, field: u64, value: u64) {
    write_varint(out, field << 3);
    write_varint(out, value);
}

fn write_double(out: &mut Vec<u8>, field: u64, value: f64) {
    write_varint(out, (field << 3) | FIXED_64);
    out.extend_from_slice(&value.to_le_bytes());
}

fn write_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    write_varint(out, (field << 3) | LENGTH_DELIMITED);
    write_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_a_message_behind_its_length() {
        let rows = vec![(vec!["200"], 300.0), (vec!["500"], 0.0)];
        let family = Family::plain("m", "h", Form::Counter, vec!["code"], rows);
        let none = Family::plain("n", "", Form::Gauge, vec![], vec![]);
        let page = delimited(&[none, family]);
        let metric = |code: &[u8], value: f64| {
            let mut metric = b"\x22\x18\x0a\x0b\x0a\x04code\x12\x03".to_vec();
            metric.extend_from_slice(code);
            metric.extend_from_slice(b"\x1a\x09\x09");
            metric.extend_from_slice(&value.to_le_bytes());
            metric
        };
        let mut want = b"\x3c\x0a\x01m\x12\x01h\x18\x00".to_vec();
        want.extend(metric(b"200", 300.0));
        want.extend(metric(b"500", 0.0));
        assert_eq!(page, want);
        let mut long = Vec::new();
        write_varint(&mut long, 300);
        assert_eq!(long, [0xac, 0x02]);
    }
}
