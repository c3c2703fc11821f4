//! The form of UUIDs.

/// `bits` with those set that say of a UUID that it is random: version 4, variant 1. Six bits are lost.
pub(crate) fn version_4(bits: u128) -> u128 {
    let version = bits & !(0xf << 76) | (4 << 76);
    version & !(0b11 << 62) | (0b10 << 62)
}

/// The usual text of a UUID: 36 characters, five groups of small hexadecimal digits.
pub(crate) fn text(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_five_groups_of_digits() {
        assert_eq!(text(0), "00000000-0000-0000-0000-000000000000");
        assert_eq!(
            text(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210),
            "01234567-89ab-cdef-fedc-ba9876543210"
        );
    }

    #[test]
    fn version_4_changes_six_bits() {
        assert_eq!(text(version_4(0)), "00000000-0000-4000-8000-000000000000");
        assert_eq!(text(version_4(u128::MAX)), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
