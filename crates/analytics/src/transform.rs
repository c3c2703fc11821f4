//! What a pump changes about the records that it sees: computed on access, so that a batch is never copied.

use crate::Field;

/// The options of one pump that alter records, in the reference's order: omit or trim, then ignore, then decode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transform {
    /// `omit_detailed_recording`: raw request and response are empty.
    pub omit_detailed: bool,
    /// `max_record_size`: raw request and response are cut to this many bytes of the stored text; 0 = no limit.
    pub max_record_size: usize,
    /// `ignore_fields`: bit `Field as u64` set = the field has its zero value.
    pub ignored: u64,
    /// `raw_request_decoded`: the raw request is base64-decoded if it is valid base64.
    pub decode_request: bool,
    /// `raw_response_decoded`: likewise the response.
    pub decode_response: bool,
}

impl Transform {
    /// Whether `field` is blanked.
    pub fn ignores(&self, field: Field) -> bool {
        self.ignored & (1 << field as u64) != 0
    }
}
